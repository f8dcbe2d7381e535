"""A planted exponent is found, and noise has none."""

import numpy as np
import pytest

from hemix.study.scaling import fit, law

SIZES = [30_000, 100_000, 300_000, 1_000_000, 3_000_000]


def planted(
    exponent: float, noise: float, *, scale: float = 20.0, seeds: int = 3, seed: int = 0
) -> dict[int, list[float]]:
    random = np.random.default_rng(seed)
    return {size: [0.8 + scale * size**-exponent + noise * random.normal() for _ in range(seeds)] for size in SIZES}


@pytest.mark.parametrize("exponent", [0.2, 0.5, 1.0])
def test_a_planted_exponent_is_found_exactly_without_noise(exponent: float) -> None:
    sizes = np.array(SIZES, dtype=float)
    values = 0.8 + 20 * sizes**-exponent
    found, limit, scale = (value[0] for value in fit(sizes, values[None]))
    assert found == pytest.approx(exponent, rel=2e-3)
    assert limit == pytest.approx(0.8, abs=0.01 * (values[0] - 0.8))
    assert limit + scale * sizes**-found == pytest.approx(values, abs=0.01 * (values[0] - values[-1]))


def test_the_interval_holds_the_planted_exponent() -> None:
    found = law("f", "ne", planted(0.5, 0.0005))
    assert found.reason is None
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.4
    assert found.low <= found.exponent <= found.high
    assert found.at(1e5) == pytest.approx(0.8 + 20 * 1e5**-0.5, abs=0.002)
    assert law("f", "ne", planted(0.5, 0.0005)) == found


def test_a_metric_that_rises_with_size() -> None:
    mirrored = {size: [1.6 - value for value in values] for size, values in planted(0.5, 0.0005).items()}
    found = law("f", "auc", mirrored)
    assert found.scale < 0
    assert found.low < 0.5 < found.high
    assert law("f", "ne", mirrored).reason == "ne gets worse with size"


@pytest.mark.slow
def test_the_interval_covers_as_often_as_it_says() -> None:
    """Of 40 studies with two seeds, about 38."""
    found = [law("f", "ne", planted(0.5, 0.001, seeds=2, seed=seed)) for seed in range(40)]
    assert sum(each.low <= 0.5 <= each.high for each in found) >= 36
    assert np.median([each.high - each.low for each in found]) < 0.3


def test_noise_has_no_exponent() -> None:
    found = law("f", "ne", planted(0.5, 0.01, scale=0.1))
    assert np.isnan(found.exponent)
    assert found.reason is not None
    assert found.reason.startswith("no exponent: the range 0.0")
    assert "is below 5 x the seed spread" in found.reason


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ({size: [0.5, 0.6] for size in SIZES[:3]}, "3 sizes; a law needs 4"),
        ({size: [1 / size] for size in SIZES}, "a size has one seed, so the noise is not known"),
        ({**planted(0.5, 0.01), 10: [float("nan"), 1.0]}, "ne is undefined at some size"),
    ],
)
def test_why_there_is_none(points: dict[int, list[float]], reason: str) -> None:
    assert law("f", "ne", points).reason == reason
