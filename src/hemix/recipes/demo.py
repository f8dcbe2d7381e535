"""The whole path on real data: get MovieLens-100K, prepare it, train three models, compare them on the test split."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hemix.data.manifest import MANIFEST
from hemix.data.prepare import prepare
from hemix.data.public import Progress, get_dataset
from hemix.data.store import Store
from hemix.evaluate.compare import Comparison
from hemix.evaluate.page import write_comparison
from hemix.evaluate.report import Report
from hemix.recipes.movielens import movielens_100k
from hemix.recipes.sizes import ModelName
from hemix.run import Run, train
from hemix.run.compare import compare
from hemix.run.page import write_page

DATASET = "movielens-100k"
MODELS: tuple[ModelName, ...] = ("dlrm", "din", "hemix")
"""The first is the baseline of the others."""
SPLIT_NOTE = """\
Split user_time: of each user's ratings the first 80 % train, the next 10 % validate, the last 10 % test.
Cut last_k: the last 20 events are the real-time history, up to 100 before them the global one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Demo:
    """What the demo made, models in the order of `MODELS`."""

    store: Store
    runs: tuple[Run, ...]
    reports: tuple[Report, ...]
    comparison: Comparison
    pages: tuple[Path, ...]
    """What there is to look at: a page per run and one that compares them; empty without matplotlib."""


def run_demo(folder: Path, *, say: Callable[[str], None], download: Progress) -> Demo:
    """Do all of it below `folder`; what an earlier call has finished there is not done again.

    `say` is told what begins, `download` how far a file is. Raises InputError without a network, when the data is not
    there yet.
    """
    say(f"1. Data: {DATASET} into {folder / 'data'}")
    data = get_dataset(DATASET, folder / "data", progress=download)
    say(f"2. Prepare: tables into {folder / 'store'}")
    experiments = [movielens_100k(model).model_copy(update={"name": model}) for model in MODELS]
    place = folder / "store"
    store = Store.open(place) if (place / MANIFEST).is_file() else prepare(experiments[0].data, place, root=data)
    runs = []
    for model, experiment in zip(MODELS, experiments, strict=True):
        out = folder / "runs" / model
        resume = (out / "config.json").is_file()
        say(f"3. Train: {model} into {out}")
        runs.append(train(experiment, store, out, resume=resume))
    say("4. Evaluate: every run on the test split, with intervals over users")
    reports = [run.evaluate("test") for run in runs]
    comparison = compare(runs)
    pages = [write_page(run, report) for run, report in zip(runs, reports, strict=True)]
    if None not in pages:
        write_comparison(folder / "compare.html", comparison)
        pages.append(folder / "compare.html")
    return Demo(
        store=store,
        runs=tuple(runs),
        reports=tuple(reports),
        comparison=comparison,
        pages=tuple(page for page in pages if page is not None),
    )
