"""Labels of pictures are to be read: no formulas, at least one on every axis."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from hemix.ledger import Entry
from hemix.study import pictures


def entry(auc: float, work: float, milliseconds: float) -> Entry:
    figures = {
        "auc": auc,
        "dense_parameters": 1e5,
        "multiply_adds_per_request": 0.0,
        "multiply_adds_per_candidate": work / 500,
        "p50_milliseconds": milliseconds,
    }
    common: dict[str, Any] = {"study": "a", "split": "test", "config_hash": "0", "data_hash": "0", "commit": None}
    common |= {"seed": 1, "budget": {}, "seconds": 1.0, "parameters": 1, "date": datetime(2026, 1, 1, tzinfo=UTC)}
    return Entry(cell="a", figures=figures, **common)


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """Of what is drawn while the test runs."""
    seen: list[Axes] = []

    def draw_only(width: float, height: float, axes: int, draw: Callable[[Sequence[Axes]], None]) -> bytes:
        with rc_context(pictures.STYLE):
            figure = Figure(figsize=(width, height))
            seen.extend(figure.subplots(1, axes, squeeze=False)[0])
            draw(seen)
            figure.draw_without_rendering()
        return b""

    monkeypatch.setattr(pictures, "_png", draw_only)
    return seen


def labels(axis: Axis) -> list[str]:
    """Those within the limits."""
    low, high = axis.get_view_interval()
    shown = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    found = [tick.label1.get_text() for tick in shown if low <= tick.get_loc() <= high and tick.label1.get_visible()]
    return [text for text in found if text]


@pytest.mark.parametrize(
    ("work", "milliseconds", "expected"),
    [
        ((1e8, 3e9), (13.0, 140.0), (["100M", "300M", "1G", "3G"], ["30", "100"])),
        ((7.5e8, 7.5e8), (22.0, 28.0), (["750M"], ["22", "24", "26", "28"])),
    ],
    ids=["far apart", "close together"],
)
def test_costs_over_a_number(
    panels: list[Axes], work: tuple[float, ...], milliseconds: tuple[float, ...], expected: tuple[list[str], list[str]]
) -> None:
    points = {
        value: [entry(0.7, *cost)]
        for value, cost in zip((10.0, 1000.0), zip(work, milliseconds, strict=True), strict=True)
    }
    pictures.over("max_length", {"din": points}, "auc", costs=True)
    assert [labels(panel.xaxis) for panel in panels] == [["10", "1000"]] * 3
    for panel, some in zip(panels[1:], expected, strict=True):
        found = labels(panel.yaxis)
        assert set(some) <= set(found)
        assert not [text for text in found if "$" in text]


def test_a_metric_over_costs(panels: list[Axes]) -> None:
    runs = {"small": [entry(0.6, 1e8, 13.0)], "large": [entry(0.7, 3e9, 140.0)]}
    pictures.costs(runs, "auc")
    assert [labels(panel.xaxis) for panel in panels[1:]] == [["100M", "300M", "1G", "3G"], ["30", "100"]]
