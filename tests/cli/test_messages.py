"""What a wrong command line answers: one readable block on standard error, and the exit status that scripts read."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import hemix
from hemix.cli import app
from hemix.cli.terminal import write_json


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_version() -> None:
    assert run("--version").output == f"hemix {hemix.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bogus",), "No such command"),
        (("train",), "Missing argument"),
        (("prepare", "a.yaml"), "Missing option"),
        (("prepare", "a.yaml", "--out", "b", "--on-bad-rows", "ignore"), "ignore"),
        (("train", "a.yaml", "--data", "b", "--out", "c", "--seed", "-1"), "greater than or equal to 0"),
    ],
)
def test_wrong_usage_is_status_2(words: tuple[str, ...], message: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("prepare", "no.yaml", "--out", "store"), "xperiment file"),
        (("evaluate", "no-run"), "There is no run at no-run"),
        (("compare", "no-run", "other"), "There is no run at no-run"),
        (("explain", "no-run"), "There is no run at no-run"),
        (("explain", "no-run", "--candidate", "i1"), "A candidate belongs to a request"),
        (("predict", "no-run", "in.csv", "--out", "out.csv"), "There is no run at no-run"),
        (("init", "no.csv", "--out", "draft.yaml"), "There is no file"),
        (("models", "--data", "no-store"), "No finished store at no-store"),
        (("models", "--config", "a.yaml"), "give the store of a.yaml with --data STORE"),
        (("models", "--set", "model.name=din"), "none is given. Add --config CONFIG"),
        (("data", "get", "movielens-100"), "Did you mean 'movielens-100k'?"),
    ],
)
def test_wrong_input_is_status_2_and_one_block(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule, the value and the fix; no traceback; nothing left behind."""
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_every_wrong_key_is_named(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("data: {tabels: {}}\n")
    result = run("prepare", config, "--out", tmp_path / "store", "--set", "data.split.bye=time")
    assert result.exit_code == 2
    assert "Did you mean 'tables'?" in result.stderr
    assert "Did you mean 'by'?" in result.stderr


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(run("--debug", "evaluate", "no-run").exception, hemix.RunError)
    monkeypatch.setenv("HEMIX_DEBUG", "1")
    assert isinstance(run("evaluate", "no-run").exception, hemix.RunError)


def test_json_has_null_where_a_figure_is_undefined(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figures.json"
    write_json(path, {"auc": float("nan"), "rows": [1, 2.5]})
    assert json.loads(path.read_text()) == {"auc": None, "rows": [1, 2.5]}
    assert [item.name for item in path.parent.iterdir()] == ["figures.json"]


def test_data_list_and_schema() -> None:
    listed = run("data", "list")
    assert "movielens-100k" in listed.output
    schema = json.loads(run("schema").output)
    assert set(schema["properties"]) == {"name", "data", "model", "objective", "train", "evaluate"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_interrupt_saves_and_resume_goes_on(tmp_path: Path) -> None:
    """Ctrl-C ends with status 130 and says how to go on; --resume finishes the run."""
    root = Path(__file__).parents[2]
    hemix_cli = (sys.executable, "-c", "from hemix.cli import main; main()")
    subprocess.run([sys.executable, root / "examples" / "bookshop.py", tmp_path], check=True)
    subprocess.run([*hemix_cli, "init", "offers.csv", "books.csv", "--out", "shop.yaml"], cwd=tmp_path, check=True)
    subprocess.run([*hemix_cli, "prepare", "shop.yaml", "--out", "store"], cwd=tmp_path, check=True)
    train = [*hemix_cli, "train", "shop.yaml", "--data", "store", "--out", "run", "--set", "train.log_steps=1"]
    log = tmp_path / "run" / "metrics.jsonl"
    with subprocess.Popen(train, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as training:
        while not (log.exists() and log.stat().st_size) and training.poll() is None:
            time.sleep(0.02)
        training.send_signal(signal.SIGINT)
        _, said = training.communicate(timeout=120)
    assert training.returncode == 130
    assert "--resume" in said
    assert not (tmp_path / "run" / "result.json").exists()
    subprocess.run([*train, "--resume"], cwd=tmp_path, check=True)
    assert (tmp_path / "run" / "result.json").exists()
