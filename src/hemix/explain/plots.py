"""Pictures of explanations as SVG text; needs matplotlib (``pip install 'hemix[report]'``)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hemix.evaluate.plots import FIRST, INK, SECOND, draw_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POSITIVE, NEGATIVE = (31, 111, 235), (217, 98, 43)
"""Colours of pixels, which cannot follow the page: both are seen on light and on dark paper."""
LINES_UP_TO = 60
"""Events that are drawn as separate bars; more become an area, or lines where two candidates are compared."""
BAR = 0.24
"""Height of one bar, inches."""


def bars(title: str, names: Sequence[str], series: Mapping[str, Sequence[float]]) -> str:
    """Horizontal bars from zero, the first name on top; one or two series side by side."""
    thick = 0.8 / len(series)

    def draw(axes: "Sequence[Axes]") -> None:
        (place,) = axes
        rows = np.arange(len(names), dtype=np.float64)
        for number, ((label, values), colour) in enumerate(zip(series.items(), (FIRST, SECOND), strict=False)):
            shift = (number - (len(series) - 1) / 2) * thick
            place.barh(rows + shift, values, height=thick * 0.92, color=colour, label=label)
        place.set_axisbelow(True)
        place.axvline(0, color=INK, linewidth=0.8)
        place.set_yticks(rows, names)
        place.set_ylim(len(names) - 0.4, -0.6)
        place.grid(False, axis="y")
        place.set_title(title)
        place.set_xlabel("logit")
        if len(series) > 1:
            place.legend()

    return draw_svg(9.6, 0.9 + BAR * len(names) * max(1.0, 0.8 * len(series)), 1, draw)


def events(contributions: Mapping[str, Sequence[float]], rows: Sequence[str], weights: np.ndarray) -> str:
    """What each event adds, above where each query looks: events from left (oldest) to right, `weights` (Q, T)."""
    count = len(next(iter(contributions.values())))

    def draw(axes: "Sequence[Axes]") -> None:
        steps = np.arange(count)
        for number, ((label, values), colour) in enumerate(zip(contributions.items(), (FIRST, SECOND), strict=False)):
            if count <= LINES_UP_TO:
                width = 0.8 / len(contributions)
                shift = (number - (len(contributions) - 1) / 2) * width
                axes[0].bar(steps + shift, values, width=width * 0.92, color=colour, label=label)
            elif len(contributions) > 1:
                axes[0].step(steps, values, where="mid", color=colour, linewidth=1, label=label)
            else:
                axes[0].fill_between(steps, values, step="mid", color=colour, alpha=0.8, linewidth=0, label=label)
        axes[0].set_axisbelow(True)
        axes[0].axhline(0, color=INK, linewidth=0.8)
        axes[0].set(title="What each event adds", ylabel="logit")
        if len(contributions) > 1:
            axes[0].legend()
        last = axes[-1]
        last.set_xlim(-0.5, count - 0.5)
        last.set_xlabel("event, oldest on the left")
        last.locator_params(axis="x", integer=True)
        if len(rows):
            image(last, weights)
            last.set_yticks(np.arange(len(rows)), rows)
            last.set_title("Where each query looks")

    if not len(rows):
        return draw_svg(9.6, 2.2, 1, draw, heights=(1.0,))
    below = 0.3 + 0.2 * len(rows)
    return draw_svg(9.6, 2.6 + below, 2, draw, heights=(1.5, below))


def image(axes: "Axes", values: np.ndarray, *, top: float | None = None) -> None:
    """A matrix as pixels: the larger the size of a value, the stronger; negative ones in another colour."""
    top = top or float(np.abs(values).max(initial=0.0)) or 1.0
    pixels = np.zeros((*values.shape, 4), np.uint8)
    pixels[..., :3] = np.where((values >= 0)[..., None], POSITIVE, NEGATIVE)
    pixels[..., 3] = np.clip(np.abs(values) / top * 255, 0, 255).astype(np.uint8)
    axes.imshow(pixels, aspect="auto", interpolation="nearest")
    axes.grid(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def cosines(tables: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Up to three matrices of cosines side by side, each with its values where there is room."""

    def draw(axes: "Sequence[Axes]") -> None:
        for place in axes[len(tables) :]:
            place.set_visible(False)
        for place, (title, table) in zip(axes, tables.items(), strict=False):
            values = np.array(table)
            image(place, values, top=1.4)
            place.set_aspect("equal")
            place.set_title(title)
            ticks = np.arange(len(values))
            place.set_xticks(ticks, ticks + 1)
            place.set_yticks(ticks, ticks + 1)
            for row, column in np.ndindex(values.shape) if len(values) <= 8 else ():
                text = f"{values[row, column]:.2f}"
                place.text(column, row, text, ha="center", va="center", fontsize=8 if len(values) <= 4 else 6.5)

    return draw_svg(9.6, 3.1, 3, draw)


def norms(names: Sequence[str], stream: Sequence[float], added: Sequence[float]) -> str:
    """Norm of the residual stream before each part of a block, and of what the part adds."""

    def draw(axes: "Sequence[Axes]") -> None:
        (place,) = axes
        steps = np.arange(len(names), dtype=np.float64)
        place.set_axisbelow(True)
        place.bar(steps - 0.2, stream, width=0.36, color=FIRST, label="stream before")
        place.bar(steps + 0.2, added, width=0.36, color=SECOND, label="added")
        place.set_xticks(steps, names, rotation=0 if len(names) <= 8 else 60)
        place.grid(False, axis="x")
        place.set(title="Mean norm of a token", ylim=(0, None))
        place.legend()

    return draw_svg(9.6, 2.8, 1, draw)


def gates(names: Sequence[str], rows: Mapping[str, Sequence[float]]) -> str:
    """A row of pixels per layer, a column per field: above one half in one colour, below in the other."""

    def draw(axes: "Sequence[Axes]") -> None:
        (place,) = axes
        values = np.array(list(rows.values()))
        image(place, values - 0.5, top=0.5)
        place.set_xticks(np.arange(len(names)), names, rotation=40, ha="right")
        place.set_yticks(np.arange(len(rows)), list(rows))
        for row, column in np.ndindex(values.shape) if len(names) <= 16 else ():
            place.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize=7)
        place.set_title("What each layer lets pass of each field")

    return draw_svg(9.6, 1.9 + 0.32 * len(rows), 1, draw)


def pairs(names: Sequence[str], tables: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Matrices of norms side by side: rows and columns are the fields, in order; the darker the stronger."""

    def draw(axes: "Sequence[Axes]") -> None:
        for place, (title, table) in zip(axes, tables.items(), strict=True):
            image(place, np.array(table))
            place.set_aspect("equal")
            place.set_title(title)
            ticks = np.arange(len(names))
            place.set_xticks(ticks, names, rotation=90, fontsize=7)
            place.set_yticks(ticks, names if place is axes[0] else [""] * len(names), fontsize=7)

    return draw_svg(9.6, 4.6, len(tables), draw)
