"""HSTU: hierarchical sequential transduction units, as a ranking model (ICML 2024, https://arxiv.org/abs/2402.17152).

    x_1 .. x_n, x_r, x_c     tokens: events, oldest first, then the request, then one candidate: a linear map of each
    U, V, Q, K = split(silu(f1(LN(X))))
    A_ij       = silu(<q_i, k_j> + position_(i - j) + time_bucket(t_i - t_j)) / N        j <= i; 0 elsewhere
    X         <- f2(LN(A V) * U) + X                                                     layer after layer
    logits     = towers(MLP(LN(x_c)))

Without a softmax the attention to one part of the sequence is a sum of its own. So keys and values of the events are
computed once per request, those of the first history even without the request, and each candidate adds its own row.

Filled gaps and differences: docs/models/hstu.md. Parity test: tests/parity/test_hstu.py.
"""

from hemix.models.backbone import ModelKind
from hemix.models.hstu.config import HSTUConfig
from hemix.models.hstu.model import HSTU
from hemix.search_space import Draw

MODEL = ModelKind(
    config=HSTUConfig,
    build=HSTU,
    paper="arXiv 2402.17152",
    histories="read",
    space={
        "token_dim": Draw(choice=(32, 64, 128)),
        "num_layers": Draw(integer=(1, 4)),
        "num_heads": Draw(choice=(1, 2, 4)),
        "dropout": Draw(choice=(0.0, 0.1, 0.2)),
    },
)

__all__ = ["HSTU", "MODEL", "HSTUConfig"]
