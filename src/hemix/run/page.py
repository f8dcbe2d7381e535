"""The page of an evaluated run."""

from importlib.util import find_spec
from pathlib import Path

from hemix.evaluate.page import write_report
from hemix.evaluate.predictions import Predictions
from hemix.evaluate.report import Report
from hemix.run.run import Run


def write_page(run: Run, report: Report) -> Path | None:
    """Write `report.html` into the run folder and return its path; None where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        return None
    path = run.path / "report.html"
    write_report(
        path,
        report,
        Predictions.load(run.path / f"predictions-{report.origin.split}.npz"),
        metrics=run.metrics,
        config=run.experiment.model_dump(mode="json"),
        environment=run.environment,
    )
    return path
