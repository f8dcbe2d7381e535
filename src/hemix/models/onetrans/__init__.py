"""OneTrans: one transformer over events and feature tokens (WWW 2026, https://arxiv.org/abs/2510.26104).

    X      = [S ; NS]                    S: events, history after history, [SEP] between; NS: M tokens of the features
    Z      = X + concat_h softmax(q_i k_j^T / sqrt(d_h), j <= i) v_j  Wo        q, k, v = RMSNorm(X)_i W_i
    X     <- Z + gelu(RMSNorm(Z)_i W1_i + b1_i) W2_i + b2_i                     W_i: of NS token i, or of all of S
    logits = tower_k([NS_1 ; ... ; NS_M])                                       or behind experts: nn/towers.py

Only the latest events ask, and go on to the next block: ever fewer (pyramid). Events see no feature, so their keys and
values in every block are computed once per request; a candidate runs its NS tokens against them. What is the paper's
and what is filled in: docs/models/onetrans.md. Parity test: tests/parity/test_onetrans.py.
"""

from hemix.models.backbone import ModelKind
from hemix.models.onetrans.config import OneTransConfig
from hemix.models.onetrans.model import OneTrans
from hemix.search_space import Draw

MODEL = ModelKind(
    config=OneTransConfig,
    build=OneTrans,
    paper="arXiv 2510.26104",
    histories="read",
    space={
        "token_dim": Draw(choice=(64, 128, 256)),
        "num_blocks": Draw(integer=(1, 4)),
        "pyramid": Draw(choice=(True, False)),
    },
)

__all__ = ["MODEL", "OneTrans", "OneTransConfig"]
