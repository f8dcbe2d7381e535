"""docs/add-a-model.md says what is true: its file and its line make a model that trains and passes every check."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from run.clicks import experiment, write_tables

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-a-model.md").read_text(encoding="utf-8")
FILE, LINE = (re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S)[0] for kind in ("python", "text"))
COMMAND = "from hemix.cli import main; main()"
NAIVE = """
import itertools, json, torch
from factories import make_batch, make_inputs
from hemix.models.fwfm import FwFMConfig
from hemix.ranker import build_ranker, count_parameters

inputs = make_inputs(histories=(), num_tasks=2)
ranker = build_ranker(inputs, FwFMConfig(embedding_dim=4), seed=0).eval()
model = ranker.backbone.model
with torch.no_grad():
    model.weights.copy_(torch.randn(model.weights.shape)); model.bias.copy_(torch.randn(2))
    batch = make_batch(inputs, counts=(1, 3, 2))
    x = ranker.embed(batch)
    each = torch.repeat_interleave(batch.offsets.diff())
    rows = torch.cat([x.request.values[each], x.candidate.values], dim=1)
    names = (*x.request.names, *x.candidate.names)
    expected = []
    for row in rows:
        pieces = row.split(2 + 4)                  # two weights of its own, then the vector
        weights, vectors = [p[:2] for p in pieces], [p[2:] for p in pieces]
        logit = model.bias + sum(weights)
        for place, (f, g) in enumerate(itertools.combinations(range(len(names)), 2)):
            logit = logit + model.weights[:, place] * (vectors[f] * vectors[g]).sum()
        expected.append(logit)
    torch.testing.assert_close(ranker(batch), torch.stack(expected), rtol=1e-4, atol=1e-5)
plain = count_parameters(inputs, FwFMConfig(embedding_dim=4)).by_part
pairs = len(names) * (len(names) - 1) // 2
assert plain["weights"] == 2 * pairs and plain["bias"] == 2, plain
print(json.dumps({"fields": len(names)}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and its tests, with the guide's file and its line."""
    folder = tmp_path_factory.mktemp("guide")
    for part in ("src", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    models = folder / "src" / "hemix" / "models"
    (models / "fwfm.py").write_text(FILE, encoding="utf-8")
    registry = (models / "__init__.py").read_text(encoding="utf-8")
    assert registry.count('    "gdcn",\n') == 1
    (models / "__init__.py").write_text(registry.replace('    "gdcn",\n', f'{LINE}    "gdcn",\n'), encoding="utf-8")
    return folder


def run(copy: Path, *words: str) -> str:
    path = os.pathsep.join(str(copy / part) for part in ("src", "tests"))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_it_is_listed_and_trains(copy: Path, tmp_path: Path) -> None:
    write_tables(tmp_path)
    config = tmp_path / "fwfm.yaml"
    config.write_text(experiment(train={"epochs": 1}).to_yaml())
    listed = tmp_path / "models.json"
    run(copy, "-c", COMMAND, "models", "--json", str(listed))
    (row,) = (row for row in json.loads(listed.read_text()) if row["model"] == "fwfm")
    assert row["paper"] == "arXiv 1806.03514"
    run(copy, "-c", COMMAND, "prepare", str(config), "--out", str(tmp_path / "store"))
    words = ("train", str(config), "--data", str(tmp_path / "store"), "--out", str(tmp_path / "run"))
    run(copy, "-c", COMMAND, *words, "--set", "model={name: fwfm, refine: {name: senet}}")
    run(copy, "-c", COMMAND, "evaluate", str(tmp_path / "run"))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert 0 <= report["tasks"]["click"]["metrics"]["auc"]["value"] <= 1


@pytest.mark.slow
def test_its_logits_are_its_equation(copy: Path) -> None:
    assert json.loads(run(copy, "-c", NAIVE))["fields"] > 2


@pytest.mark.slow
def test_it_passes_what_every_model_must(copy: Path) -> None:
    """As the guide says: `pytest tests/conformance -k fwfm`."""
    output = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/conformance", "-k", "fwfm")
    passed = re.search(r"(\d+) passed", output)
    assert passed is not None
    assert int(passed[1]) >= 15, output
