"""The city as a value: bytes, live answers, knobs and what is refused."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hemix.cli import app
from hemix.errors import ConfigError, InputError
from hemix.world import Knobs, World, knobs_from, write_world

DEFAULT_KNOBS = "b51709b5935c976a731c8dd97673f03c08378a73b651cf70c7d8f80c1fd639cb"


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_default_knobs_are_the_committed_ones():
    """They were chosen without a model; whoever changes them makes a new city and new evidence."""
    assert Knobs().hash == DEFAULT_KNOBS


def test_same_seed_same_bytes(folder, world, tmp_path):
    write_world(world, tmp_path / "again")
    assert digests(tmp_path / "again") == digests(folder)
    write_world(World(knobs=world.knobs, seed=6, impressions=80), tmp_path / "other")
    assert digests(tmp_path / "other")["pois.parquet"] != digests(folder)["pois.parquet"]


def test_respond_agrees_with_the_log(world, folder, tables):
    shown, truth = tables["impressions"], tables["truth/impressions"]
    loaded = World.load(folder)
    assert loaded == world
    width = world.knobs.candidates
    for request in (0, 700, 1500):
        rows = slice(request * width, (request + 1) * width)
        first = rows.start
        found = loaded.respond(
            int(shown["user"][first]),
            shown["poi"][rows],
            int(shown["time"][first]),
            (shown["latitude"][first], shown["longitude"][first]),
        )
        for name in ("p_click", "p_order", "value_if_order", "expected_value"):
            np.testing.assert_allclose(getattr(found.truth, name)[0], truth[name][rows], rtol=1e-5)
        for name in ("stable", "context", "drift", "distance", "order_price"):
            np.testing.assert_allclose(found.truth.parts[name][0], truth[name][rows], rtol=1e-5, atol=1e-6)
        for name in ("click", "ordered", "order_value"):
            np.testing.assert_array_equal(getattr(found.outcomes, name)[0], shown[name][rows])


def test_respond_to_the_whole_log_at_once(world, tables):
    shown, truth = tables["impressions"], tables["truth/impressions"]
    width = world.knobs.candidates
    users, times, latitude, longitude = (shown[name][::width] for name in ("user", "time", "latitude", "longitude"))
    pois = shown["poi"].reshape(-1, width)
    found = world.respond(users, pois, times, np.stack([latitude, longitude], 1))
    np.testing.assert_allclose(found.truth.p_click.ravel(), truth["p_click"], rtol=1e-5)
    np.testing.assert_array_equal(found.outcomes.click.ravel(), shown["click"])
    better = np.take_along_axis(pois, np.argsort(-found.truth.p_click, axis=1), 1)
    gain = world.respond(users, better, times, np.stack([latitude, longitude], 1)).outcomes.click.mean()
    assert gain > 1.05 * found.outcomes.click.mean()


def test_drift_belongs_to_the_local_day(world):
    pois = np.arange(8)
    morning, evening, next_day = (1_767_571_200 + hours * 3600 for hours in (0, 10, 26))
    drifts = [
        world.respond(3, pois, time, (31.2, 121.4)).truth.parts["drift"][0] for time in (morning, evening, next_day)
    ]
    np.testing.assert_array_equal(drifts[0], drifts[1])
    assert np.abs(drifts[0] - drifts[2]).max() > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, [1, 2, 9999], 0, (31.0, 121.0)), "POIs are numbered 0 .. 328; got 1 .. 9999"),
        ((-1, [1, 2], 0, (31.0, 121.0)), "Users are numbered from 0"),
        ((0, [1, 2], 0, (float("nan"), 121.0)), "finite"),
        (([0, 1], [1, 2], [0, 0], (31.0, 121.0)), "1 requests need as many users"),
        ((0, [1.5, 2], 0, (31.0, 121.0)), "whole numbers"),
    ],
)
def test_respond_refuses(world, arguments, message):
    user, pois, time, position = arguments
    with pytest.raises(InputError, match=message):
        world.respond(np.asarray(user), np.asarray(pois), np.asarray(time), np.asarray(position))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("drfit=2", "unknown key 'drfit'. Did you mean 'drift'"),
        ("drift=-1", "drift: Input should be greater than or equal to 0"),
        ("drift=nan", "drift"),
        ("drift=much", "drift: Input should be a valid number"),
        ("drift", "An override reads"),
        ("drift.size=2", "plain name"),
        ("warm_up_days=42", "warm_up_days must be below days"),
        ("groups=33", "groups must not exceed categories"),
        ("candidates=0", "candidates"),
    ],
)
def test_bad_knobs_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        knobs_from([override])


def test_worlds_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="at least 1 impression"):
        World(impressions=0)
    with pytest.raises(ConfigError, match="seed"):
        World(seed=-1)


def run(*words: object):
    return CliRunner().invoke(app, ["world", *(str(word) for word in words)])


def test_command(tmp_path):
    out = tmp_path / "deep" / "city"
    small = ("--set", "days=3", "--set", "warm_up_days=1", "--set", "drift=0")
    done = run("--impressions", 95, "--seed", 2, "--out", out, *small, "--json", tmp_path / "figures.json")
    assert done.exit_code == 0, done.output
    assert "100 impressions in 10 requests" in done.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures == json.loads((out / "world.json").read_text())
    assert figures["knobs"]["drift"] == 0
    assert figures["counts"]["impressions"] == 100
    assert [path.name for path in out.parent.iterdir()] == ["city"]
    again = run("--impressions", 95, "--out", out)
    assert again.exit_code == 2
    assert "new or empty folder" in again.output


@pytest.mark.slow
def test_same_seed_same_bytes_at_full_size(tmp_path):
    for name in ("one", "two"):
        write_world(World(seed=3, impressions=300_000), tmp_path / name)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_load_refuses_what_is_no_world(tmp_path):
    with pytest.raises(InputError, match=r"world\.json cannot be read"):
        World.load(tmp_path)
    (tmp_path / "world.json").write_text("{}")
    with pytest.raises(InputError, match="lacks knobs, seed or impressions_asked"):
        World.load(tmp_path)


@pytest.mark.parametrize(
    "words",
    [("--impressions", 0), ("--impressions", 100, "--seed", -1), ("--impressions", 100, "--set", "nothing=1")],
)
def test_command_refuses(words, tmp_path):
    done = run(*words, "--out", tmp_path / "city")
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_nothing_stays_when_writing_fails(world, tmp_path):
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_world(world, tmp_path / "city", progress=stop)
    assert list(tmp_path.iterdir()) == []
