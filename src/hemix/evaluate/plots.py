"""Plots of a report as SVG text that takes its colours from the page around it, light or dark.

Needs matplotlib (``pip install 'hemix[report]'``), which is loaded when the first plot is drawn.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from hemix.batch import LabelKind
from hemix.errors import HemixError
from hemix.evaluate.metrics import Rows, probabilities, tie_runs
from hemix.evaluate.report import Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"#010101": "ink", "#020202": "line", "#030303": "first", "#040404": "second"}
"""Colours that are drawn, and the CSS variables that take their places."""
INK, LINE, FIRST, SECOND = COLOURS
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hemix",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
}
MAX_POINTS = 400


def draw_svg(
    width: float,
    height: float,
    axes: int,
    draw: "Callable[[Sequence[Axes]], None]",
    *,
    heights: Sequence[float] | None = None,
) -> str:
    """SVG of `axes` plots (inches), made by ``draw(figure axes)``.

    They stand side by side or, with `heights`, below each other on a common x axis. Raises HemixError if matplotlib is
    missing.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise HemixError(
            "Plots need matplotlib, which is not installed. Install it with: pip install 'hemix[report]'"
        ) from None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        if heights is None:
            draw(figure.subplots(1, axes, squeeze=False)[0])
        else:
            draw(figure.subplots(axes, 1, squeeze=False, sharex=True, height_ratios=list(heights))[:, 0].tolist())
        return _svg(figure)


def _svg(figure: "Figure") -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", text, count=1)
    for colour, name in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    return text


def training_curves(
    lines: Sequence[Mapping[str, Any]], label: str | None = None, kind: LabelKind = "binary"
) -> str | None:
    """Training loss and validation metrics over steps, from the lines of metrics.jsonl; None without any.

    `label`: the one of several that is drawn. The loss of a regression is of its standardised values.
    """
    loss, prefix = ("loss", "") if label is None else (label, f"{label}.")
    if kind == "regression":
        curves = [("Squared error", "training", "train", loss), ("Validation RMSE", "RMSE", "valid", f"{prefix}rmse")]
    else:
        curves = [
            ("Log loss", "training", "train", loss),
            ("Log loss", "validation", "valid", f"{prefix}log_loss"),
            ("Validation AUC", "AUC", "valid", f"{prefix}auc"),
            ("Validation AUC", "gAUC", "valid", f"{prefix}gauc"),
        ]
    panels: dict[str, list[tuple[str, list[tuple[float, float]]]]] = {}
    for title, name, part, key in curves:
        known = [line for line in lines if line.get("kind") == part and line.get(key) is not None]
        if known:
            panels.setdefault(title, []).append((name, [(line["step"], line[key]) for line in known]))
    if not panels:
        return None

    def draw(axes: "Sequence[Axes]") -> None:
        for place, (title, drawn) in zip(axes, panels.items(), strict=True):
            for (name, points), colour in zip(drawn, (FIRST, SECOND), strict=False):
                steps, values = zip(*points, strict=True)
                place.plot(steps, values, color=colour, label=name, marker="o" if len(points) <= 30 else "", ms=3.5)
            place.set_title(title)
            place.set_xlabel("step")
            place.legend()

    return draw_svg(9.6, 3.0, len(panels), draw)


def roc_points(scores: Rows, labels: Rows) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """False and true positive rates at rising numbers of selected rows, at most `MAX_POINTS` of them.

    Rows with one score enter together.
    """
    runs = tie_runs(scores)
    positives = np.cumsum(runs.sums((labels > 0).astype(np.float64)))
    negatives = np.cumsum(runs.sums((labels <= 0).astype(np.float64)))
    chosen = np.unique(np.linspace(0, len(positives) - 1, min(MAX_POINTS, len(positives))).astype(np.int64))
    false = np.concatenate([[0.0], negatives[chosen] / negatives[-1]])
    return false, np.concatenate([[0.0], positives[chosen] / positives[-1]])


def score_plots(logits: Rows, labels: Rows, reliability: Reliability) -> str | None:
    """ROC curve, calibration and the scores of both classes; None if there is one class only."""
    positives = int((labels > 0).sum())
    if positives in (0, len(labels)):
        return None

    def draw(axes: "Sequence[Axes]") -> None:
        _roc(axes[0], logits, labels)
        _calibration(axes[1], reliability)
        _histogram(axes[2], probabilities(logits), labels > 0)

    return draw_svg(9.6, 3.2, 3, draw)


def value_plots(predicted: Rows, observed: Rows, reliability: Reliability) -> str | None:
    """Mean prediction against mean value, and how both are spread; None if all values are equal."""
    if not len(observed) or observed.min() == observed.max():
        return None

    def draw(axes: "Sequence[Axes]") -> None:
        _reliability(axes[0], reliability, min(reliability.predicted), max(reliability.predicted))
        axes[0].set(title="Calibration", xlabel="mean prediction", ylabel="mean value")
        low, high = np.quantile(np.concatenate([predicted, observed]), (0.005, 0.995)).tolist()
        bins = np.linspace(low, max(high, low + 1e-6), 41)
        _spreads(axes[1], bins, (("observed", observed), ("predicted", predicted)))
        axes[1].set(title="Values", xlabel="value", ylabel="density")

    return draw_svg(6.4, 3.2, 2, draw)


def _roc(axes: "Axes", logits: Rows, labels: Rows) -> None:
    false, true = roc_points(logits, labels)
    axes.fill_between(false, true, color=FIRST, alpha=0.12, linewidth=0)
    axes.plot(false, true, color=FIRST)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    axes.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")


def _calibration(axes: "Axes", reliability: Reliability) -> None:
    top = 1.05 * max(*reliability.predicted, *reliability.observed, 1e-6)
    _reliability(axes, reliability, 0.0, top)
    axes.set(title="Calibration", xlabel="mean prediction", ylabel="share of positives", xlim=(0, top), ylim=(0, top))
    axes.set_aspect("equal")


def _reliability(axes: "Axes", reliability: Reliability, low: float, high: float) -> None:
    """The bins, and the line on which predictions come true."""
    axes.plot([low, high], [low, high], color=INK, linewidth=0.8, linestyle=":")
    axes.plot(reliability.predicted, reliability.observed, color=FIRST, marker="o", ms=4)


def _histogram(axes: "Axes", predicted: Rows, positive: "np.ndarray") -> None:
    bins = np.linspace(0.0, max(float(np.quantile(predicted, 0.999)), 1e-6), 41)
    _spreads(axes, bins, (("negative", predicted[~positive]), ("positive", predicted[positive])))
    axes.set(title="Predictions by class", xlabel="predicted probability", ylabel="density")


def _spreads(axes: "Axes", bins: "np.ndarray", groups: "Sequence[tuple[str, np.ndarray]]") -> None:
    """Histograms over each other; what lies outside the bins counts in the outer ones."""
    edges = bins.tolist()
    for (name, values), colour in zip(groups, (SECOND, FIRST), strict=True):
        inside = np.clip(values, edges[0], edges[-1])
        axes.hist(inside, bins=edges, density=True, color=colour, alpha=0.25)
        axes.hist(inside, bins=edges, density=True, color=colour, histtype="step", linewidth=1.4, label=name)
    axes.legend()
