"""What a run ran on: there, and naming nobody."""

import getpass
import json
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from hemix.training.environment import commit_of, describe_environment, portable_path


def test_no_names_of_people_or_machines() -> None:
    described = describe_environment(torch.device("cpu"))
    text = json.dumps(described)
    assert described["threads"] == torch.get_num_threads()
    assert {
        "hemix",
        "python",
        "torch",
        "numpy",
        "platform",
        "processor",
        "cores",
        "device",
        "commit",
    } <= described.keys()
    assert str(Path.home()) not in text
    assert platform.node() not in text
    assert f"/{getpass.getuser()}/" not in text


def test_commit_and_changes(tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None

    def git(*words: str) -> str:
        author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(["git", *author, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    assert commit_of(tmp_path) is None
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    commit = git("rev-parse", "HEAD")
    assert commit_of(tmp_path) == commit
    (tmp_path / "other").write_text("untracked")
    assert commit_of(tmp_path) == commit
    (tmp_path / "file").write_text("2")
    assert commit_of(tmp_path) == f"{commit}+changes"


def test_paths_name_no_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "users" / "ada"
    monkeypatch.setattr(Path, "home", lambda: home)
    assert portable_path(tmp_path / "store", tmp_path / "runs" / "one") == "../../store"
    assert portable_path(home / "store", home / "runs") == "../store"
    assert portable_path(home / "data" / "store", tmp_path / "runs") == "~/data/store"
    assert portable_path(tmp_path / "store", home / "runs") == "../../../store"
