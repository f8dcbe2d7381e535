"""Labels of every kind: what is stored, counted and standardised, what is refused, and by which message."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from data.refusals import expect_refused, good_rows
from data.tables import Row, data_config, decode_all, make_store, write_table
from hemix.cli import app
from hemix.cli.prepare import show_store, store_figures
from hemix.config import parse_config
from hemix.data.manifest import Target
from hemix.data.prepare import prepare
from hemix.errors import ConfigError
from hemix.labels import Label
from hemix.schema import DataConfig

CLICK = {"name": "click"}
ORDER = {"name": "order", "mask": "click"}
VALUE = {"name": "value", "kind": "regression", "mask": "order"}


def rows_of(num_rows: int = 60) -> list[Row]:
    """Clicks, orders after half of them, values of orders; what a mask hides is null or nonsense."""
    return [
        {"user": f"u{n}", "item": f"i{n}", "time": 1_700_000_000 + n, "click": n % 2}
        | {"order": int(n % 4 == 1) if n % 2 else (None if n % 3 else 1), "value": n * 1.5 if n % 4 == 1 else math.nan}
        for n in range(num_rows)
    ]


def test_a_regression_is_stored_and_masked_through_its_masks(tmp_path: Path) -> None:
    rows = rows_of()
    store = make_store(tmp_path, {"log": rows}, labels=[CLICK, ORDER, VALUE])
    for n, example in decode_all(store).items():
        row = rows[n]
        order = float(row["order"]) if row["click"] else math.nan
        np.testing.assert_equal(example.labels, [row["click"], order, row["value"] if order == 1 else math.nan])
    count = store.manifest.segments[0].splits["train"]
    assert (count.positives, count.unlabelled) == ((30, 15, 0), (0, 30, 45))
    values = np.array([n * 1.5 for n in range(60) if n % 4 == 1])
    target = count.targets["value"]
    assert (target.mean, target.centre, target.spread) == pytest.approx((values.mean(), values.mean(), values.std()))
    task = store.inputs.tasks[2]
    assert (task.kind, task.loss, task.centre, task.spread) == ("regression", "squared", target.centre, target.spread)


def test_a_logged_regression_is_standardised_in_its_scale(tmp_path: Path) -> None:
    label = {**VALUE, "loss": "log_squared"}
    store = make_store(tmp_path, {"log": rows_of()}, labels=[CLICK, ORDER, label])
    logs = np.log1p([n * 1.5 for n in range(60) if n % 4 == 1])
    task = store.inputs.tasks[2]
    assert (task.centre, task.spread) == pytest.approx((logs.mean(), logs.std()))


def test_only_training_rows_standardise(tmp_path: Path) -> None:
    rows = rows_of()
    for n, row in enumerate(rows):
        row["part"] = "train" if n < 30 else ("valid", "test")[n // 2 % 2]
        row["value"] += 1000 * (n >= 30)
    sections = {"split": {"by": "given", "column": "part"}, "labels": [CLICK, ORDER, VALUE]}
    store = make_store(tmp_path, {"log": rows}, **sections)
    values = [n * 1.5 for n in range(30) if n % 4 == 1]
    assert store.inputs.tasks[2].centre == pytest.approx(np.mean(values))
    splits = store.manifest.segments[0].splits
    assert splits["train"].targets["value"].mean == pytest.approx(np.mean(values))
    assert max(count.targets["value"].mean for count in splits.values() if count.targets) > 1000


def test_an_appended_segment_keeps_the_scale(tmp_path: Path) -> None:
    sections = {"labels": [CLICK, ORDER, VALUE]}
    store = make_store(tmp_path, {"log": rows_of()}, **sections)
    write_table(tmp_path / "log.parquet", [{**row, "time": row["time"] + 900, "value": 7.0} for row in rows_of()])
    again = prepare(data_config(**sections), tmp_path / "store", root=tmp_path, append=True, threads=1)
    assert again.inputs == store.inputs
    assert again.manifest.segments[-1].splits["train"].targets["value"].mean == 7.0


@pytest.mark.parametrize("chunks", [1, 2, 7])
def test_moments_of_chunks_are_those_of_the_whole(chunks: int) -> None:
    values = np.random.default_rng(0).lognormal(8, 1, 500).astype(np.float32)
    for loss in ("squared", "log_squared"):
        label = Label(name="value", kind="regression", loss=loss)
        target = Target.merged([Target.of(label, chunk) for chunk in np.array_split(values, chunks)])
        known = values.astype(np.float64)
        learnt = np.log1p(known) if loss == "log_squared" else known
        assert target.rows == len(known)
        assert (target.mean, target.centre, target.spread) == pytest.approx((known.mean(), learnt.mean(), learnt.std()))


def test_labels_that_are_only_measured_are_no_tasks(tmp_path: Path) -> None:
    labels = [CLICK, ORDER, {"name": "late", "sql": "time % 3 = 0", "scored_by": "order"}]
    labels.append({"name": "bought", "sql": 'click = 1 AND "order" = 1', "scored_by": ["click", "order"]})
    rows = [{**row, "order": row["order"] or 0} for row in rows_of()]
    store = make_store(tmp_path, {"log": rows}, labels=labels)
    assert [task.name for task in store.inputs.tasks] == ["click", "order"]
    assert [(label.name, label.scored_by) for label in store.inputs.outcomes] == [
        ("late", ("order",)),
        ("bought", ("click", "order")),
    ]
    for n, example in decode_all(store).items():
        assert example.labels[2:] == [
            float(rows[n]["time"] % 3 == 0),
            float(rows[n]["click"] and rows[n]["order"] == 1),
        ]


def test_counts_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store(tmp_path, {"log": rows_of()}, labels=[CLICK, ORDER, VALUE])
    figures = store_figures(store)
    assert figures["positive_rates"] == {"click": {"train": 0.5}, "order": {"train": 0.5}}
    assert figures["means"] == {"value": {"train": pytest.approx(43.5)}}
    show_store(store)
    assert "value is 43.5 in train on average." in capsys.readouterr().out


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None, 1e300])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, bad: float | None) -> None:
    rows = [{**row, "price": bad if n == 7 else row["price"]} for n, row in enumerate(good_rows())]
    write_table(tmp_path / "log.parquet", rows)
    label = {"name": "price", "kind": "regression"}
    expect_refused(tmp_path, "label price (column price) must be a finite number, got", labels=[CLICK, label])


def test_values_below_zero_have_no_log(tmp_path: Path) -> None:
    rows = [{**row, "price": row["price"] - 3} for row in good_rows()]
    write_table(tmp_path / "log.parquet", rows)
    label = {"name": "price", "kind": "regression", "loss": "log_squared"}
    expect_refused(tmp_path, "must be a finite number >= 0 (its loss is log_squared), got -3.0", labels=[CLICK, label])
    make_store(tmp_path, {"log": rows}, labels=[CLICK, {"name": "price", "kind": "regression"}])


def test_what_cannot_be_learnt_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "log.parquet", [{**row, "one": 1, "text": ["x"]} for row in good_rows()])
    constant = {"name": "one", "kind": "regression"}
    expect_refused(tmp_path, "of label 'one' the train split has 40 rows with the value 1.", labels=[CLICK, constant])
    rare = [CLICK, {"name": "rare", "sql": "price = 0.5"}, {"name": "after", "sql": "price = 0", "mask": "rare"}]
    masked = [*rare, {"name": "price", "kind": "regression", "mask": "after"}]
    expect_refused(tmp_path, "The train split has a single class: 0 of its 1 rows have after = 1", labels=masked)
    twice = [CLICK, {"name": "even", "sql": "price % 1 = 0"}, {"name": "odd", "sql": "price % 1 = 0.5", "mask": "even"}]
    expect_refused(tmp_path, "0 of its 20 rows have odd = 1", labels=twice)
    text = {"name": "text", "kind": "regression"}
    expect_refused(tmp_path, "label 'text'", "needs a number", labels=[CLICK, text])


def test_a_regression_may_stand_first(tmp_path: Path) -> None:
    """It has no classes that a split could lack."""
    store = make_store(tmp_path, {"log": good_rows()}, labels=[{"name": "price", "kind": "regression"}])
    assert store.inputs.tasks[0].kind == "regression"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([CLICK, {"name": "x", "loss": "squared"}], r"'loss' is of a regression.*'x' is binary; set kind: regression"),
        ([CLICK, {"name": "x", "kind": "regresion"}], r"labels\.1\.kind: Input should be 'binary' or 'regression'"),
        ([CLICK, {"name": "x", "kind": "regression", "loss": "huber"}], r"loss: Input should be 'squared' or 'log_sq"),
        ([{"name": "v", "kind": "regression"}, {"name": "x", "mask": "v"}], r"'x' is masked by 'v', a regression"),
        ([{"name": "a", "mask": "b"}, {"name": "b", "mask": "a"}], r"label 'a' is masked by itself, through 'b'"),
        ([CLICK, {"name": "x", "scored_by": "clck"}], r"scored_by of label 'x' refers to label 'clck'.*'click'"),
        ([{"name": "x", "scored_by": "click"}, CLICK], r"put them behind those that are learnt"),
        (
            [CLICK, {"name": "x", "scored_by": "click"}, {"name": "y", "scored_by": "x"}],
            r"'y' refers to label 'x'; there are: click\.",
        ),
        ([CLICK, {"name": "v", "kind": "regression"}, {"name": "x", "scored_by": "v"}], r"a binary label is scored by"),
        (
            [CLICK, {"name": "x", "kind": "regression", "loss": "squared", "scored_by": "click"}],
            r"'loss' is of a regression that is learnt; label 'x' is only measured",
        ),
    ],
)
def test_impossible_labels_are_refused(labels: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        data_config(labels=labels)


def test_only_zeros_can_be_down_sampled() -> None:
    labels = [CLICK, {"name": "v", "kind": "regression"}, {"name": "x", "scored_by": "click"}]
    with pytest.raises(ConfigError, match=r"downsample drops rows of label 0; 'v' is a regression"):
        data_config(labels=labels, downsample={"label": "v", "keep": 0.5})
    with pytest.raises(ConfigError, match=r"downsample refers to label 'x'; there are: click, v"):
        data_config(labels=labels, downsample={"label": "x", "keep": 0.5})


def test_one_label_may_be_named_alone() -> None:
    config = data_config(labels=[CLICK, {"name": "x", "scored_by": "click"}])
    assert config.labels[1].scored_by == ("click",)
    assert parse_config(DataConfig, config.model_dump(mode="json"), "data") == config


def test_the_command_says_what_a_regression_is_on_average(tmp_path: Path) -> None:
    write_table(tmp_path / "log.parquet", rows_of())
    text = "data: " + data_config(labels=[CLICK, ORDER, VALUE]).model_dump_json()
    (tmp_path / "shop.yaml").write_text(text)
    done = CliRunner().invoke(app, ["prepare", str(tmp_path / "shop.yaml"), "--out", str(tmp_path / "store")])
    assert done.exit_code == 0, done.output
    assert "value is 43.5 in train on average." in done.output
