"""The planted signals are where the page says: in the whole history, in events of the same context, in today's events.

Each is looked for by a plain statistic of the user's earlier events in the space of the true tastes; no model is
trained. Where the knob is 0 the statistic must know nothing.
"""

import numpy as np
import pytest

from hemix.evaluate.metrics import auc
from hemix.world import Knobs, World
from hemix.world.log import write_part
from hemix.world.moments import local_days

QUIET = {"stable": 0, "context": 0, "drift": 0, "days": 28, "warm_up_days": 21}


def statistic(signal: str, tastes: np.ndarray, today: np.ndarray, same_context: np.ndarray) -> np.ndarray:
    """A taste vector estimated from earlier events (E, K)."""
    if signal == "stable":
        weights = (~today).astype(float)
    elif signal == "drift":
        weights = today.astype(float)
    else:
        weights = np.where(today, 0.0, same_context - same_context[~today].mean() if (~today).any() else 0.0)
    return weights @ tastes


def auc_of_history(signal: str, strength: float) -> float:
    world = World(Knobs(**{**QUIET, signal: strength}), seed=8, impressions=100_000)
    part = write_part(world, 0)
    events, requests, tastes = part.events, part.requests, world.city.tastes.T.astype(float)
    keys = (events.users << 33) + events.times
    days, asked = local_days(events.times), local_days(requests.times)
    scores = []
    for row in range(len(requests)):
        start, end = np.searchsorted(keys, (requests.users[row] << 33) + np.array([0, requests.times[row]]))
        past = slice(start, end)
        same = (
            0.5 * (events.daypart[past] == requests.daypart[row])
            + 0.2 * (events.weekend[past] == requests.weekend[row])
            + 0.3 * (events.place[past] == requests.place[row])
        )
        today = days[past] == asked[row]
        taste = statistic(signal, tastes[events.pois[past]], today, same)
        scores.append(tastes[part.shown[row]] @ taste / max(np.linalg.norm(taste), 1e-9))
    return auc(np.concatenate(scores), part.outcomes.click.ravel().astype(float))


@pytest.mark.parametrize("signal", ["stable", "context", "drift"])
def test_history_shows_a_taste_if_there_is_one(signal):
    on, off = auc_of_history(signal, 1.0), auc_of_history(signal, 0.0)
    assert on > 0.56
    assert abs(off - 0.5) < 0.02
