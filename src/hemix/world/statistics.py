"""Figures of the truth: how far a perfect model would get, and what each source of signal is worth. No model is run."""

from typing import Any

import numpy as np

from hemix.evaluate.metrics import auc
from hemix.world.choice import CLICK_PARTS
from hemix.world.knobs import Knobs
from hemix.world.log import LogPart

MAX_ROWS = 1_000_000
"""Impressions, from the first on, that figures are taken from; memory stays bounded."""


class TruthFigures:
    """Collects the first parts of a log; `summary` is taken once."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._columns: list[dict[str, np.ndarray]] = []
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []
        self._rows = 0

    def add(self, part: LogPart) -> None:
        """Take in a part of the log, unless there are enough."""
        if self._rows >= MAX_ROWS or not part.shown.size:
            return
        self._rows += part.shown.size
        figures = {name: part.truth.parts[name] for name in CLICK_PARTS}
        figures |= {"p_click": part.truth.p_click, "p_order": part.truth.p_order}
        columns = {name: values.ravel().astype(np.float32) for name, values in figures.items()}
        columns |= {"click": part.outcomes.click.ravel(), "ordered": part.outcomes.ordered.ravel()}
        columns["looked_at"] = np.tile((1.0 + np.arange(part.shown.shape[1])) ** -self._knobs.position, len(part.shown))
        self._columns.append(columns)
        self._seen.append(part.seen_before())

    def summary(self) -> dict[str, Any]:
        """Base rates, AUC of the truth, and the parts: share of the variance, and AUC of the truth without each."""
        columns = {name: np.concatenate([each[name] for each in self._columns]) for name in self._columns[0]}
        before, same_day = (np.concatenate([each[k] for each in self._seen]) for k in (0, 1))
        click, ordered = columns["click"], columns["ordered"]
        utility = np.stack([columns[name] for name in CLICK_PARTS]).sum(0, dtype=np.float64)
        p_order = columns["p_order"].astype(np.float64)
        auc_with = auc(columns["p_click"].astype(np.float64), click.astype(np.float64))
        return {
            "rows": len(click),
            "ctr": float(click.mean()),
            "cvr": float(ordered.sum() / max(click.sum(), 1)),
            "cvr_of_all": float(p_order.mean()),
            "auc_of_p_click": auc_with,
            "auc_of_p_order_among_clicks": auc(p_order[click], ordered[click].astype(np.float64)),
            "events_before_request": float(before.mean()),
            "same_day_events_before_request": float(same_day.mean()),
            "requests_with_same_day_events": float((same_day > 0).mean()),
            "parts": {name: self._part(name, columns, utility, auc_with) for name in CLICK_PARTS},
        }

    def _part(
        self, name: str, columns: dict[str, np.ndarray], utility: np.ndarray, auc_with: float
    ) -> dict[str, float]:
        part = columns[name].astype(np.float64)
        if not getattr(self._knobs, name):
            return {"deviation": 0.0, "share_of_variance": 0.0, "auc_without": auc_with}
        without = columns["looked_at"] / (1 + np.exp(-self._knobs.click_base - utility + part))
        return {
            "deviation": float(part.std()),
            "share_of_variance": float(np.mean((part - part.mean()) * (utility - utility.mean())) / utility.var()),
            "auc_without": auc(without, columns["click"].astype(np.float64)),
        }
