"""Tables for a terminal."""

import dataclasses
import io

import numpy as np
from rich.console import Console

from evaluate.worlds import make_runs
from hemix.evaluate import tables
from hemix.evaluate.compare import compare
from hemix.evaluate.evaluator import EvaluateConfig, evaluate
from hemix.evaluate.predictions import SliceColumn

QUICK = EvaluateConfig(bootstrap_draws=50)


def show(*shown):
    console = Console(width=140, record=True, file=io.StringIO())
    for table in shown:
        console.print(table)
    return console.export_text()


def test_metrics_and_slices_show_values_intervals_and_reasons():
    (run,) = make_runs([1.0], num_users=40)
    column = SliceColumn(values=np.arange(run.num_rows) % 2, names=("[bold]even", "odd"))
    run = dataclasses.replace(run, slices={"parity": column})
    report = evaluate(run, QUICK)
    text = show(tables.metrics_table(report), *tables.slice_tables(report))
    auc = report.first.metrics["auc"]
    assert f"{auc.value:.4f}   {auc.low:.4f} .. {auc.high:.4f}" in text
    assert "[bold]even" in text
    assert "NDCG@10" in text
    assert f"{run.num_rows:,} rows, 40 users" in text
    assert text.count("NDCG@10") == 2
    alone = dataclasses.replace(run, requests=np.arange(run.num_rows))
    assert "NDCG@10" not in show(*tables.slice_tables(evaluate(alone, QUICK)))
    nobody = dataclasses.replace(run, users=np.full_like(run.users, -1))
    assert "rows have no user" in show(tables.metrics_table(evaluate(nobody, QUICK)))


def test_a_comparison_says_what_is_established():
    found = compare(make_runs([0.2, 2.0, 2.0], seeds=2, seed_noise=0.2), QUICK)
    text = show(tables.systems_table(found), tables.differences_table(found))
    assert "system 1 - system 0" in text
    assert "better" in text
    assert "+/-" in text
    assert "users and seeds" in text
