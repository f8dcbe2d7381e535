"""The pages: whole, self-contained, escaped, and telling what is undefined."""

import builtins
import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from evaluate.worlds import INPUTS, Oracle, make_batch, make_runs
from hemix.errors import HemixError
from hemix.evaluate import page, plots
from hemix.evaluate.compare import compare
from hemix.evaluate.evaluator import EvaluateConfig, evaluate, predict_split
from hemix.evaluate.predictions import Origin
from hemix.evaluate.slices import SliceReader, Training

QUICK = EvaluateConfig(bootstrap_draws=20)
EVIL = '<script>alert("x")</script> & $\\frac{1}$ \' "'
LOG = [
    {"kind": "train", "step": 10, "loss": 0.6, "click": 0.5, "buy": 0.1, "rows_per_second": 1.0},
    {"kind": "valid", "step": 10, "auc": 0.7, "gauc": None, "log_loss": 0.55, "click.auc": 0.7, "buy.auc": None},
    {"kind": "train", "step": 20, "loss": 0.5},
    {"kind": "valid", "step": 20, "auc": 0.72, "gauc": 0.6, "log_loss": 0.53},
]


class Parser(HTMLParser):
    """Collects tags and attributes; complains of tags that are not closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parse(html):
    parser = Parser()
    parser.feed(html)
    assert parser.open == []
    assert all(link.startswith("#") for link in parser.links)
    assert "script" not in parser.tags
    assert "@import" not in html
    assert not re.search(r"url\((?!['\"]?#)", html)
    return parser


@pytest.fixture(scope="module")
def example():
    batches = [make_batch(seed) for seed in range(3)]
    reader = SliceReader(INPUTS, ("city", "price"), Training.scan(batches[:1], INPUTS))
    origin = Origin(tasks=(), split="test", system="HeMix", run="first", parameters=1234, table_parameters=1000)
    predictions = predict_split(Oracle(), batches, device=torch.device("cpu"), slices=reader, origin=origin)
    return evaluate(predictions, QUICK), predictions


@pytest.fixture(scope="module")
def html(example, tmp_path_factory):
    report, predictions = example
    path = tmp_path_factory.mktemp("page") / "report.html"
    environment = {"torch": "2.13", "store": {"hash": "abc"}}
    page.write_report(
        path, report, predictions, metrics=LOG, config={"model": {"name": "hemix"}}, environment=environment
    )
    return path.read_text()


def test_a_report_page_is_whole_and_fetches_nothing(example, html):
    report, _ = example
    parser = parse(html)
    text = " ".join(parser.text)
    for expected in (
        "HeMix",
        "click",
        "buy",
        "By city",
        "By history length",
        "1,234",
        "2.13",
        "store.hash",
        "Training",
        "ROC",
    ):
        assert expected in text, expected
    assert f"{report.auc:.4f}" in text
    assert parser.tags.count("figure") == 4
    assert '"name": "hemix"' in text


def test_colours_come_from_the_page(html):
    assert "var(--first)" in html
    assert "prefers-color-scheme:dark" in html
    for colour in plots.COLOURS:
        assert colour not in html


def test_the_same_curves_give_the_same_picture():
    assert plots.training_curves(LOG) == plots.training_curves(LOG)


def test_text_of_data_stays_text(example):
    _, predictions = example
    column = dataclasses.replace(predictions.slices["user in training"], names=(EVIL, "new", EVIL))
    origin = predictions.origin.model_copy(update={"system": EVIL, "run": EVIL, "tasks": (EVIL, "buy")})
    evil = dataclasses.replace(predictions, origin=origin, slices={EVIL: column})
    html = page.report_html(evaluate(evil, QUICK), evil, config={EVIL: EVIL}, environment={EVIL: EVIL}, metrics=LOG)
    text = "".join(parse(html).text)
    assert text.count('<script>alert("x")</script>') >= 6


def test_without_a_log_or_a_class_there_is_less_to_see():
    (run,) = make_runs([1.0], num_users=5)
    run = dataclasses.replace(run, labels=np.zeros_like(run.labels))
    html = page.report_html(evaluate(run, QUICK), run)
    text = " ".join(parse(html).text)
    assert "No curves: there is one class only" in text
    assert f"all {run.num_rows} labels are 0" in text
    assert "figure" not in parse(html).tags
    assert "nan" not in text.lower()


def test_without_matplotlib_the_error_says_how_to_get_it(example, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(HemixError, match=r"pip install 'hemix\[report\]'"):
        page.report_html(*example)


def test_a_roc_curve_joins_its_corners_by_few_points():
    scores, labels = np.array([3.0, 2.0, 2.0, 1.0]), np.array([1.0, 1.0, 0.0, 0.0])
    false, true = plots.roc_points(scores, labels)
    np.testing.assert_array_equal(false, [0, 0, 0.5, 1])
    np.testing.assert_array_equal(true, [0, 0.5, 1, 1])
    random = np.random.default_rng(0)
    false, true = plots.roc_points(random.normal(size=50_000), (random.random(50_000) < 0.5).astype(np.float64))
    assert len(false) == plots.MAX_POINTS + 1
    assert (false[-1], true[-1]) == (1.0, 1.0)


def test_a_comparison_page_shows_every_pair(tmp_path):
    runs = make_runs([0.3, 1.0, 1.0], num_users=60)
    evil = runs[2].origin.model_copy(update={"system": EVIL})
    found = compare([*runs[:2], dataclasses.replace(runs[2], origin=evil)], QUICK)
    page.write_comparison(tmp_path / "compare.html", found)
    parser = parse((tmp_path / "compare.html").read_text())
    text = "".join(parser.text)
    assert text.count("system 1 - system 0") == 6
    assert '<script>alert("x")</script>' in text
    assert parser.tags.count("circle") == 18
    assert "One seed per system" in text
