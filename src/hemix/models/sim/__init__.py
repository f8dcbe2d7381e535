"""SIM: search-based interest model (CIKM 2020, https://arxiv.org/abs/2006.05639).

    r_i    = 1 if the event is of the candidate's category, else 0        general search, hard: the newest K of these
    r_i    = <W_b e_i, W_a e_a>                                           general search, soft: the K largest
    z_j    = [e*_j ; d(t - t_j)]                                          e*: what was found; d: by time to the request
    head_h = sum_j softmax over j of <W_bh z_j, W_ah e_a> z_j             exact search
    logits = towers(MLP([request ; candidate ; heads of each searched history ; interests in each other history]))

e_a: the candidate's fields that the event has too. Histories that are not searched are read whole, by DIEN or DIN. What
a soft search picks has no gradient: its W_a and W_b are trained by an auxiliary loss, objectives/search.py.

A candidate pays for its K events; of the others a soft search takes one inner product each, a hard one a comparison.
Filled gaps and differences: docs/models/sim.md. Parity test: tests/parity/test_sim.py.
"""

from hemix.models.backbone import ModelKind
from hemix.models.sim.config import SIMConfig
from hemix.models.sim.model import SIM
from hemix.search_space import Draw

MODEL = ModelKind(
    config=SIMConfig,
    build=SIM,
    paper="arXiv 2006.05639",
    histories="read",
    space={
        "top_k": Draw(choice=(20, 50, 100)),
        "search_dim": Draw(choice=(16, 32, 64)),
        "num_heads": Draw(choice=(1, 2, 4)),
        "short_term": Draw(choice=("dien", "din")),
    },
)

__all__ = ["MODEL", "SIM", "SIMConfig"]
