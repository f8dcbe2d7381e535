"""LONGER: a long history merged by groups, read once by few queries, then refined (https://arxiv.org/abs/2505.04421).

    M_g    = [e_1 ; ... ; e_K] of InnerTransformer(K adjacent events)       from the newest event back; K = 1: e_g
    G      = [candidate globals ; request globals]                         linear maps of the fields
    R      = [G ; M]                                                       M newest first
    O      = [G ; the k newest of M]
    X      = CausalBlock(O over R)                                         softmax(Q K^T / sqrt(d) + mask) V, then FFN
    X     <- CausalBlock(X over X)                                         num_layers times
    logits = towers(MLP([request ; candidate ; candidate globals of X]))   default: one linear map; nn/towers.py

The mask lets a token see itself and what stands behind it: no event sees a later one, none sees a global token, and
candidates stand in front of all. So keys and values of every layer are made once per request, and a candidate is its
own few tokens that pass all layers against them (the KV cache of the paper). What is the paper's, what is read from
others and what is filled in: docs/models/longer.md. Parity test: tests/parity/test_longer.py.
"""

from hemix.models.backbone import ModelKind
from hemix.models.longer.config import LONGERConfig
from hemix.models.longer.model import LONGER
from hemix.search_space import Draw

MODEL = ModelKind(
    config=LONGERConfig,
    build=LONGER,
    paper="arXiv 2505.04421",
    histories="read",
    space={
        "token_dim": Draw(choice=(64, 128, 256)),
        "num_layers": Draw(integer=(1, 3)),
        "merge_size": Draw(choice=(1, 4, 8)),
        "recent_queries": Draw(choice=(10, 20, 50)),
    },
)

__all__ = ["LONGER", "MODEL", "LONGERConfig"]
