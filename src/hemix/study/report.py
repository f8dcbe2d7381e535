"""The report of a study: what the ledger and the kept predictions say of its cells, as text, pictures and JSON."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hemix.config import Config, parse_config
from hemix.data.arrays import replace_file
from hemix.errors import RunError, unknown_name
from hemix.evaluate.compare import Comparison, compare
from hemix.evaluate.predictions import Predictions
from hemix.evaluate.slices import parts
from hemix.ledger import Entry, read
from hemix.study import pictures
from hemix.study.cells import Study
from hemix.study.conduct import Places
from hemix.study.page import study_html
from hemix.study.scaling import Law, laws
from hemix.study.summaries import check_costs, leaderboard_table, scaling_tables, search_table
from hemix.study.tables import differences, escape, fill, parts_table, table
from hemix.training.folder import RunFolder, write_json


class Comparisons(Config):
    """Paired differences of a study: one comparison for each set of rows that cells were tested on."""

    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What is known of a study."""

    study: Study
    places: Places
    runs: Mapping[str, tuple[Entry, ...]]
    """Test lines of each cell, one a seed, in the order of the study file; cells without one are left out."""
    trials: Mapping[str, tuple[Entry, ...]]
    comparisons: tuple[Comparison, ...]
    laws: tuple[Law, ...]
    """Of a scaling study."""
    notes: tuple[str, ...]
    """What a reader has to know of what is missing."""

    @property
    def entries(self) -> list[Entry]:
        return [entry for runs in self.runs.values() for entry in runs]

    def tables(self) -> dict[str, str]:
        """Markdown by the name of its mark."""
        name, config = self.study.name, self.study.config
        found = {name: table(self.entries, metrics=config.metrics)}
        whole = [each for each in self.comparisons if each.part is None]
        parts = [each for each in self.comparisons if each.part is not None]
        if config.kind == "leaderboard":
            found[f"{name}-leaderboard"] = leaderboard_table(self.study, self.runs)
        if whole and (config.baselines or config.kind != "scaling"):
            found[f"{name}-differences"] = "\n".join(
                differences(each, config.metrics, config.baselines) for each in whole
            )
        if parts:
            found[f"{name}-by"] = parts_table(parts, config.metrics)
            found[f"{name}-by-differences"] = "\n".join(
                f"{escape(each.part or '')}:\n\n{differences(each, config.metrics, config.baselines)}" for each in parts
            )
        searched = search_table(self.study, self.trials)
        if searched is not None:
            found[f"{name}-search"] = searched
        if self.laws:
            found[f"{name}-scaling"] = scaling_tables(self.families, self.runs, self.laws, config.metrics)
        return found

    @property
    def families(self) -> dict[str, str]:
        """Family of each cell that has figures."""
        return {cell.name: cell.family for cell in self.study.cells if cell.name in self.runs}

    def pictures(self) -> dict[str, bytes]:
        """PNG by name. Raises HemixError without matplotlib."""
        metrics = self.study.config.metrics
        folder = self.places.out / "runs"
        lines = {
            name: [RunFolder(folder / entry.run).read_metrics() for entry in entries]
            for name, entries in self.runs.items()
        }
        found = {"cells": pictures.cells(self.runs, metrics)}
        learning = pictures.curves(lines, metrics[0])
        if learning is not None:
            found["learning-curves"] = learning
        if self.study.config.kind == "leaderboard":
            own = {cell.name: self.runs[cell.name] for cell in self.study.cells if cell.name in self.runs}
            found["costs"] = pictures.costs(own, metrics[0])
        axis = self.study.axis
        if axis is not None:
            by_base: dict[str, dict[float, tuple[Entry, ...]]] = {}
            for cell in self.study.cells:
                entries = self.runs.get(cell.name, ())
                if entries and all(metrics[0] in entry.figures for entry in entries):
                    by_base.setdefault(cell.base, {})[float(cell.point[axis])] = entries
            if by_base:
                found["grid"] = pictures.over(axis, by_base, metrics[0], costs=self.study.config.measures_costs)
        if self.laws:
            by_family: dict[str, dict[str, tuple[Entry, ...]]] = {}
            for name, family in self.families.items():
                by_family.setdefault(family, {})[name] = self.runs[name]
            found |= {f"scaling-{name}": pictures.families(self.laws, by_family, name) for name in metrics}
        return found

    def to_json(self) -> dict[str, Any]:
        """The same figures for programs; undefined numbers are null."""
        return {
            "study": self.study.name,
            "cells": {name: _values(runs) for name, runs in self.runs.items()},
            "trials": {name: _values(runs) for name, runs in self.trials.items()},
            "comparisons": _values(self.comparisons),
            "laws": _values(self.laws),
            "notes": list(self.notes),
        }


def _values(items: Sequence[Config]) -> list[Any]:
    return [json.loads(item.model_dump_json()) for item in items]


def find(study: Study, places: Places) -> Findings:
    """Read the ledger and the predictions of a study.

    Raises RunError if the ledger is damaged, or has no finished run of any of its cells.
    """
    ledger = read(places.ledger)
    if ledger.damaged:
        lines = ", ".join(str(line.line) for line in ledger.damaged)
        raise RunError(
            f"A report needs a whole ledger; {places.ledger} is damaged in line {lines}. Take that line out."
        )
    own = [entry for entry in ledger.entries if entry.study == study.name]
    notes: list[str] = []
    runs: dict[str, tuple[Entry, ...]] = {}
    trials: dict[str, tuple[Entry, ...]] = {}
    for name in [*(cell.name for cell in study.cells), *study.config.outside]:
        lines = [entry for entry in own if entry.cell == name]
        runs[name] = _latest([entry for entry in lines if entry.split == "test"], name, notes)
        trials[name] = tuple(entry for entry in lines if entry.trial is not None)
        missing = set(study.config.seeds) - {entry.seed for entry in runs[name]}
        if missing:
            notes.append(f"{name}: no figures yet of seed {', '.join(map(str, sorted(missing)))}.")
    runs = {name: found for name, found in runs.items() if found}
    if not runs:
        raise RunError(
            f"A report needs finished runs; {places.ledger} has none of the study {study.name!r}. "
            "Run it first: hemix study run FILE --out DIR."
        )
    scaling: list[Law] = []
    if study.config.measures_costs:
        check_costs({cell.name: runs[cell.name] for cell in study.cells if cell.name in runs}, study.config.kind)
    if study.config.kind == "scaling":
        scaling = laws({cell.name: cell.family for cell in study.cells}, runs, study.config.metrics)
    return Findings(
        study=study,
        laws=tuple(scaling),
        places=places,
        runs=runs,
        trials={name: found for name, found in trials.items() if found},
        comparisons=_comparisons(study, places, runs, notes),
        notes=tuple(notes),
    )


def _latest(lines: Sequence[Entry], cell: str, notes: list[str]) -> tuple[Entry, ...]:
    """The line of each seed of the configuration and data that were run last."""
    if not lines:
        return ()
    last = max(lines, key=lambda entry: entry.date)
    same = [entry for entry in lines if (entry.config_hash, entry.data_hash) == (last.config_hash, last.data_hash)]
    if len(same) < len(lines):
        notes.append(f"{cell}: {len(lines) - len(same)} lines of earlier configurations or data are left out.")
    return tuple({entry.seed: entry for entry in same}.values())


def _comparisons(
    study: Study, places: Places, runs: Mapping[str, tuple[Entry, ...]], notes: list[str]
) -> tuple[Comparison, ...]:
    """From the predictions in the folder of the study; from the file beside the ledger where there are none."""
    kept = places.ledger.with_suffix(".comparison.json")
    groups: dict[str, list[Predictions]] = {}
    order = [*study.config.baselines, *(name for name in runs if name not in study.config.baselines)]
    absent = []
    for name in (name for name in order if name in runs):
        paths = [places.out / "runs" / entry.run / "predictions-test.npz" for entry in runs[name]]
        if not all(path.is_file() for path in paths):
            absent.append(name)
            continue
        for path in paths:
            found = Predictions.load(path)
            # a cell is one system, and stores of other features may hold the same rows
            rows = found.fingerprint()
            origin = found.origin.model_copy(update={"system": name, "config": name, "store": rows})
            groups.setdefault(rows, []).append(dataclasses.replace(found, origin=origin))
    if len(absent) == len(runs) and kept.is_file():
        return _read(kept).comparisons
    if absent:
        notes.append(f"No predictions in {places.out}, so no paired differences: {', '.join(absent)}.")
    several = [group for group in groups.values() if len({found.origin.system for found in group}) > 1]
    made = tuple(_compare(group, study) for group in several)
    made += tuple(part for group in several for by in study.config.by for part in _compare_parts(group, study, by))
    if made and not absent:
        replace_file(kept, Comparisons(comparisons=made).model_dump_json(indent=1).encode())
    return made


def _compare(runs: Sequence[Predictions], study: Study) -> Comparison:
    """Paired differences in the study's metrics: of the first label under their own names, of others as asked for."""
    labels = runs[0].origin.tasks
    asked = dict.fromkeys(metric.rpartition(".")[0] for metric in study.config.metrics)
    made = {
        label: compare(runs, study.cells[0].experiment.evaluate, task=labels.index(label) if label else 0)
        for label in asked
    }
    differences = [
        each.model_copy(update={"metric": f"{label}.{each.metric}" if label else each.metric})
        for label, comparison in made.items()
        for each in comparison.differences
    ]
    return next(iter(made.values())).model_copy(update={"differences": tuple(differences)})


def _compare_parts(runs: Sequence[Predictions], study: Study, by: str) -> Iterator[Comparison]:
    """The same on each part of the rows. All runs are of the same rows, so one of them can say which is where."""
    columns = [run.slices[by] for run in runs if by in run.slices]
    if not columns:
        known = {name for run in runs for name in run.slices}
        raise unknown_name("slice in the study's `by`", by, known)
    for value, chosen in parts(columns[0], max_values=study.cells[0].experiment.evaluate.slice_values, names=None):
        found = _compare([run.take(chosen) for run in runs], study)
        yield found.model_copy(update={"part": f"{by}: {value}"})


def _read(path: Path) -> Comparisons:
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise RunError(
            f"{path} is damaged: {error}. Delete it; a report from the predictions writes it anew."
        ) from None
    return parse_config(Comparisons, values, str(path))


def markdown(found: Findings) -> str:
    """The tables of a study, and what is missing."""
    parts = [f"# {found.study.name}", *(text.rstrip() for text in found.tables().values())]
    if found.notes:
        parts.append("\n".join(f"- {note}" for note in found.notes))
    return "\n\n".join(parts) + "\n"


def fill_page(found: Findings, page: Path) -> bool:
    """Put the tables between their marks in a page; True if that changed it.

    Raises ConfigError if the page has no mark with the study's name.
    """
    old = page.read_text(encoding="utf-8")
    tables = found.tables()
    marked = {
        name: text for name, text in tables.items() if name == found.study.name or f"<!-- table: {name} -->" in old
    }
    new = fill(old, {name: text for name, text in tables.items() if name in marked})
    if new != old:
        replace_file(page, new.encode())
    return new != old


def write_report(found: Findings) -> list[Path]:
    """Write report.md, report.json and, where matplotlib is, report.html and its pictures; returns their paths."""
    out = found.places.out
    out.mkdir(parents=True, exist_ok=True)
    text, figures = out / "report.md", out / "report.json"
    replace_file(text, markdown(found).encode())
    write_json(figures, found.to_json())
    if find_spec("matplotlib") is None:
        return [text, figures]
    drawn = found.pictures()
    for name, data in drawn.items():
        (out / "pictures").mkdir(exist_ok=True)
        replace_file(out / "pictures" / f"{name}.png", data)
    page = out / "report.html"
    replace_file(page, study_html(found.study.name, found.tables(), drawn, found.notes).encode())
    return [text, figures, page]
