"""The log: what is in it, in which order, and that its outcomes follow the true probabilities."""

import numpy as np
import pytest

from hemix.world import Knobs, World
from hemix.world.choice import CLICK_PARTS, moments_of
from hemix.world.log import USERS_PER_PART, write_part
from hemix.world.moments import DAYPARTS, dayparts, local_days, weekends

SHORT = {"days": 14, "warm_up_days": 7}


def test_rows_end_with_a_whole_request(tables, world):
    shown = tables["impressions"]
    assert len(shown["impression"]) == 12_008  # 12,001 asked, 8 candidates per request
    np.testing.assert_array_equal(shown["impression"], np.arange(12_008))
    np.testing.assert_array_equal(shown["request"], np.arange(12_008) // 8)
    np.testing.assert_array_equal(shown["position"], np.tile(np.arange(1, 9), 1501))
    assert len(tables["pois"]["poi"]) == world.num_pois == round(3 * np.sqrt(12_001))
    np.testing.assert_array_equal(tables["users"]["user"], np.arange(shown["user"][-1] + 1))


def test_candidates_of_a_request_differ(tables):
    pois = np.sort(tables["impressions"]["poi"].reshape(-1, 8), axis=1)
    assert (np.diff(pois, axis=1) > 0).all()


def test_truth_is_aligned_with_the_log(tables):
    for name in ("impressions", "users", "pois"):
        key = name.removesuffix("s")
        np.testing.assert_array_equal(tables[name][key], tables[f"truth/{name}"][key])


def test_a_user_does_one_thing_at_a_time(tables):
    """Events lie after the requests that they come from and never at the second of one, so that nothing leaks."""
    shown, events = tables["impressions"], tables["events"]
    first = shown["position"] == 1
    keys = np.concatenate([(t["user"] << 33) + t["time"] for t in ({k: v[first] for k, v in shown.items()}, events)])
    assert len(np.unique(keys)) == len(keys)
    assert (np.diff((events["user"] << 33) + events["time"]) > 0).all()
    assert (np.diff((shown["user"] << 33) + shown["time"]) >= 0).all()


def test_every_click_and_order_is_an_event_before_the_next_request(tables):
    shown, events = tables["impressions"], tables["events"]
    for column, action in (("click", "click"), ("ordered", "order")):
        rows = np.flatnonzero(shown[column])
        happened = np.flatnonzero(events["action"] == action)
        assert len(rows) == len(happened) > 50
        key = (shown["user"][rows] << 33) + shown["time"][rows]
        order = np.argsort(key + shown["position"][rows])
        np.testing.assert_array_equal(events["poi"][happened], shown["poi"][rows][order])
        delay = events["time"][happened] - shown["time"][rows][order]
        assert (delay > 0).all()
        assert (delay <= 2 * 3 * 8 + 6).all()
    starts = np.unique((shown["user"] << 33) + shown["time"])
    assert np.diff(starts).min() > 2 * 3 * 8 + 6


def test_orders_only_after_clicks(tables):
    shown = tables["impressions"]
    assert (shown["click"][shown["ordered"] == 1] == 1).all()
    np.testing.assert_array_equal(shown["order_value"] > 0, shown["ordered"] == 1)


def test_no_request_while_warming_up(tables, world):
    days = local_days(tables["impressions"]["time"]) - local_days(tables["events"]["time"]).min()
    assert days.min() == world.knobs.warm_up_days
    assert days.max() == world.knobs.days - 1
    assert local_days(tables["events"]["time"]).max() - local_days(tables["events"]["time"]).min() < world.knobs.days


def test_context_columns_follow_the_clock(tables):
    for name in ("impressions", "events"):
        columns = tables[name]
        np.testing.assert_array_equal(columns["daypart"], np.array(DAYPARTS)[dayparts(columns["time"])])
        np.testing.assert_array_equal(columns["weekend"], weekends(columns["time"]))


@pytest.mark.parametrize(
    ("stamp", "daypart", "weekend"),
    [
        ("2026-01-04T16:00", "night", 0),  # local midnight: Monday begins
        ("2026-01-04T15:59", "night", 1),
        ("2026-01-04T22:00", "morning", 0),  # 06:00
        ("2026-01-05T03:00", "midday", 0),  # 11:00
        ("2026-01-05T08:00", "evening", 0),  # 16:00
        ("2026-01-09T16:00", "night", 1),  # Saturday begins
    ],
)
def test_local_time(stamp, daypart, weekend):
    time = np.array([stamp], "datetime64[s]").astype("int64")
    assert DAYPARTS[dayparts(time)[0]] == daypart
    assert weekends(time)[0] == weekend


def chi_square(p: np.ndarray, happened: np.ndarray, bins: int = 20) -> float:
    """Sum over bins of equal size by p of (observed - expected)^2 / variance."""
    total = 0.0
    for rows in np.array_split(np.argsort(p, kind="stable"), bins):
        total += (happened[rows].sum() - p[rows].sum()) ** 2 / (p[rows] * (1 - p[rows])).sum()
    return total


def test_clicks_and_orders_follow_their_probabilities(tables):
    shown, truth = tables["impressions"], tables["truth/impressions"]
    clicked = shown["click"] == 1
    # chi-square with 20 degrees of freedom: above 45.3 once in 1,000
    assert chi_square(truth["p_click"].astype(float), shown["click"]) < 45.3
    assert chi_square(truth["p_order"][clicked].astype(float), shown["ordered"][clicked]) < 45.3
    assert chi_square(truth["p_click"].astype(float) * 0.8, shown["click"]) > 45.3  # the test can fail


def test_values_of_orders_have_the_expected_mean():
    part = write_part(World(seed=3, impressions=50_000), 0)
    ordered = part.outcomes.ordered
    ratio = part.outcomes.order_value[ordered] / part.truth.value_if_order[ordered]
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(ordered.sum())
    assert np.log(ratio).std() == pytest.approx(0.4, rel=0.1)


def test_position_bias_is_monotone_and_can_be_switched_off():
    biased, fair = (write_part(World(Knobs(position=p), seed=4, impressions=50_000), 0) for p in (0.8, 0.0))
    np.testing.assert_array_equal(biased.shown, fair.shown)  # the policy knows nothing of it
    looked_at = biased.truth.p_click / fair.truth.p_click
    np.testing.assert_allclose(looked_at, np.tile((1 + np.arange(10.0)) ** -0.8, (len(looked_at), 1)), rtol=1e-6)
    assert (np.diff(looked_at.mean(0)) < 0).all()
    assert biased.outcomes.click[:, 5:].mean() < 0.5 * fair.outcomes.click[:, 5:].mean()


@pytest.mark.parametrize("knob", CLICK_PARTS)
def test_a_knob_at_zero_removes_its_part(knob):
    """Zero in the truth, and no trace in what users choose freely; the signal is there with the knob on."""
    noise = {"noise": 1.0} if knob == "noise" else {}
    on, off = (write_part(World(Knobs(**{**SHORT, **noise, **change}), seed=6), 0) for change in ({}, {knob: 0.0}))
    assert on.truth.parts[knob].std() > 0.2
    assert (off.truth.parts[knob] == 0).all()
    pull = [_pull_of_organic_events(part, knob) for part in (on, off)]
    assert pull[0] > 5
    assert abs(pull[1]) < 4


def _pull_of_organic_events(part, knob: str) -> float:
    """How far what users chose freely lies above a random POI in the knob's quantity, in standard errors."""
    world = World(Knobs(**SHORT, noise=1.0), seed=6)
    events = part.events
    organic = events.actions >= 2
    rows = events.users[organic] - part.people.ids[0]
    homes = part.people.homes[rows]
    moments = moments_of(world.knobs, 6, part.people, rows, events.times[organic], homes)
    chosen = events.pois[organic]
    if knob == "distance":  # an event does not say where, but at home is known
        at_home = events.place[organic] == 0
        moments, chosen = moments.take(at_home), chosen[at_home]
    random = np.random.default_rng(0).integers(world.num_pois, size=len(chosen))
    pairs = world.choice.standardised(moments, np.stack([chosen, random], 1), (knob,))[knob]
    gap = pairs[:, 0].astype(float) - pairs[:, 1]
    return gap.mean() / gap.std() * np.sqrt(len(gap))


def test_price_of_orders_has_knobs_of_its_own():
    off = write_part(World(Knobs(order_price=0, order_distance=0, order_taste=0), seed=6), 0)
    assert (off.truth.parts["order_price"] == 0).all()
    np.testing.assert_allclose(off.truth.p_order, 1 / (1 + np.exp(3.2)))


def test_parts_of_the_log_do_not_depend_on_each_other(world):
    alone = write_part(world, 1)
    assert alone.people.ids[0] == USERS_PER_PART
    cut = write_part(world, 1, 10)
    np.testing.assert_array_equal(alone.shown[:10], cut.shown)
    assert len(cut.requests) == 10
    assert cut.people.ids[-1] == cut.requests.users[-1]
