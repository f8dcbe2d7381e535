"""What is known to decide the labels comes out on top."""

from itertools import islice

import pytest

from hemix.data.store import Store
from hemix.explain import explain_model, explain_request, request
from hemix.explain.case import Case, RequestKey
from hemix.explain.report import ModelReport
from hemix.run import Run


@pytest.fixture(scope="module")
def models(runs: dict[str, Run]) -> dict[str, ModelReport]:
    return {task: explain_model(runs["hemix"], task=task) for task in ("by_colour", "by_like")}


def test_the_model_has_learnt(models: dict[str, ModelReport]) -> None:
    assert models["by_colour"].auc > 0.85
    assert models["by_like"].auc > 0.85


def test_importance_finds_the_causes(models: dict[str, ModelReport]) -> None:
    """Far above all others, with an interval above zero; what cannot matter has one around zero."""
    first, second, *_ = models["by_colour"].importance
    assert (first.side, first.name) == ("candidate", "colour")
    assert first.auc[1] > 0.2 > 0.1 > second.auc[0]
    assert first.log_loss[1] > 0
    found = {(cost.side, cost.name): cost for cost in models["by_like"].importance}
    top = {(cost.side, cost.name) for cost in models["by_like"].importance[:2]}
    assert top == {("real_time", "*"), ("real_time", "action")}
    assert found["real_time", "action"].auc[1] > 0.1
    assert abs(found["global", "action"].auc[0]) < 0.05
    assert abs(found["candidate", "colour"].auc[0]) < 0.05


def test_the_colour_moves_the_score(runs: dict[str, Run], shop: Store) -> None:
    """In every request looked at, by contributions and by both ablations."""
    for row in (0, 100):
        (found,) = explain_request(runs["hemix"], f"row={row}").explained
        for size in ("contribution", "against_mean", "against_null"):
            top = max(found.fields, key=lambda field: abs(getattr(field, size)))
            if size == "contribution" or top.value in ("red", "green"):
                assert top.name == "colour", (row, size)


def test_the_like_moves_the_score(runs: dict[str, Run], shop: Store) -> None:
    """Where there is one like among the last three events, it contributes most of all events."""
    hits = 0
    rows = islice((row for row in range(0, 200, 3) if one_like(shop, row)), 4)
    for row in rows:
        report = explain_request(runs["hemix"], f"row={row}", task="by_like")
        (found,) = report.explained
        (like,) = (n for n, e in enumerate(report.histories["real_time"]) if e.values["action"] == "like")
        effect = next(history for history in found.histories if history.name == "real_time")
        others = [abs(value) for history in found.histories for value in history.events]
        others.remove(abs(effect.events[like]))
        hits += effect.events[like] > max(others)
        assert effect.without_event[like] > 0
        assert max(effect.fields, key=lambda field: abs(field.contribution)).name == "action"
    assert hits == 4


def one_like(shop: Store, row: int) -> bool:
    events = Case(shop, "valid", RequestKey(row=row)).events("real_time")
    return events.features["action"].count("like") == 1


def test_two_candidates_differ_by_their_colour(runs: dict[str, Run], shop: Store) -> None:
    row = 4
    shown = explain_request(runs["hemix"], f"row={row}").explained[0]
    colour = next(field.value for field in shown.fields if field.name == "colour")
    other = next(
        found
        for number in range(40)
        if (found := f"i{number}") != shown.item and (colour == "red") != (colour_of(shop, found) == "red")
    )
    report = explain_request(runs["hemix"], f"row={row}", [shown.item, other])
    first, second = report.explained
    assert report.differences[0].name == "colour"
    assert report.differences[0].first == colour
    gap = sum(found.difference for found in report.differences)
    residual = abs(first.residual) + abs(second.residual)
    assert abs(gap - (first.logit - second.logit)) <= residual + 1e-4


def colour_of(shop: Store, item: str) -> str:
    import csv

    with (shop.path.parent / "items.csv").open() as file:
        return next(row["colour"] for row in csv.DictReader(file) if row["item"] == item)


def test_the_training_mean_is_made_once_for_a_run(runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.open(runs["dlrm"].path)
    first = explain_request(run, "row=0")
    monkeypatch.setattr(request, "training_mean", None)
    assert explain_request(run, "row=0") == first
    with pytest.raises(TypeError):
        explain_request(Run.open(run.path), "row=0")
