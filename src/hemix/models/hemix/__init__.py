"""HeMix: mixed queries over a global and a real-time history, then HeteroMixer blocks (https://arxiv.org/abs/2602.09387).

    NS     = LN(W2 relu(W1 [request ; candidate] + b1) + b2)        M tokens: interact, then split
    T_s    = softmax(norm([NS_s ; P_s]) Wq (S_s Wk)^T) S_s Wv Wo    s in {G, R}: dynamic queries NS_s, fixed ones P_s
    X      = [T_R ; T_G ; NS]
    X     <- AddNorm(X, unfuse(relu(fuse(X)_m WL_m + bL_m) WR_m + bR_m))    HeteroMixing: one map per head m
    X     <- AddNorm(X, gelu(X_t W1_t + b1_t) W2_t + b2_t)                  HeteroFFN: one per token t
    logits = tower_k(mean_t X)                                              or behind experts: nn/towers.py

Keys, values and the outputs of the fixed queries depend on a history alone, the request's part of W1 on the request
alone: each is computed once per request. What is the paper's, what is read from others and what is filled in, and the
equations of every switch: docs/models/hemix.md. Parity test: tests/parity/test_hemix.py.
"""

from hemix.models.backbone import ModelKind
from hemix.models.hemix.config import PRESET_VALUES, PRESETS, HeMixConfig
from hemix.models.hemix.model import HeMix
from hemix.search_space import Draw

MODEL = ModelKind(
    config=HeMixConfig,
    build=HeMix,
    paper="arXiv 2602.09387",
    histories="read",
    space={
        "token_dim": Draw(choice=(64, 128, 256)),
        "num_blocks": Draw(integer=(1, 4)),
        "tokenizer": Draw(choice=("auto_split_mlp", "per_token_linear")),
        "num_dynamic_global": Draw(choice=(2, 4, 8)),
        "num_fixed_global": Draw(choice=(2, 4, 8)),
    },
)

__all__ = ["MODEL", "PRESETS", "PRESET_VALUES", "HeMix", "HeMixConfig"]
