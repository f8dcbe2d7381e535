"""InterFormer: two modes that exchange summaries in every layer (CIKM 2025, https://arxiv.org/abs/2411.09852).

    X  (n, d)   non-sequence tokens: one of all numbers, one per field; the candidate is among them
    S  (T, d)   events; several histories fused by MaskNet, S = W_c (E * MLP(E))

    X_sum = gate(W_x X)                                       (n_sum, d)    in front of S before the first layer (CLS)
    S_sum = gate([S_cls ; MHA(Q, S, S) ; last K of S])                      selective summary
    X    <- interaction([X ; S_sum])                          DOT, DCN-V2 or DHEN, back to n tokens
    S    <- MHA(PFFN(X_sum, S))                               PFFN: a map of events that the summary makes
    logits = towers(MLP([X_sum ; S_sum]))                     both made once more behind the last layer

Filled gaps and differences: docs/models/interformer.md. Parity test: tests/parity/test_interformer.py.
"""

from hemix.models.backbone import ModelKind
from hemix.models.interformer.config import InterFormerConfig
from hemix.models.interformer.model import InterFormer
from hemix.search_space import Draw

MODEL = ModelKind(
    config=InterFormerConfig,
    build=InterFormer,
    paper="arXiv 2411.09852",
    histories="read",
    numbers="raw",
    space={
        "num_layers": Draw(integer=(1, 3)),
        "num_heads": Draw(choice=(1, 2, 4, 8)),
        "dhen_layers": Draw(integer=(1, 3)),
        "interaction_hidden": Draw(choice=((128,), (256,), (512,))),
    },
)

__all__ = ["MODEL", "InterFormer", "InterFormerConfig"]
