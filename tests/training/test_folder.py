"""The run folder: what may be overwritten, and the metrics log."""

from pathlib import Path

import pytest

from hemix.errors import RunError
from hemix.training.folder import RunFolder, read_json, write_json


def test_a_new_or_empty_folder_is_free(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.must_be_free()
    folder.path.mkdir()
    folder.must_be_free()
    assert not folder.is_run


def test_what_a_killed_start_left_is_free(tmp_path: Path) -> None:
    write_json(RunFolder(tmp_path).environment, {})
    write_json(RunFolder(tmp_path).model, {})
    (tmp_path / ".config.json.partial").write_text("{")
    RunFolder(tmp_path).must_be_free()
    assert not RunFolder(tmp_path).is_run


def test_runs_and_foreign_folders_are_not_free(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    write_json(folder.config, {})
    with pytest.raises(RunError, match=r"an unfinished run; go on with --resume"):
        folder.must_be_free()
    write_json(folder.result, {})
    with pytest.raises(RunError, match=r"a finished run"):
        folder.must_be_free()
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(RunError, match=r"not empty \(run, thesis.txt\)"):
        RunFolder(tmp_path).must_be_free()
    with pytest.raises(RunError, match="is a file"):
        RunFolder(tmp_path / "thesis.txt").must_be_free()


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log({"step": 1})
    size = folder.sync_metrics()
    folder.log({"step": 2})
    with folder.metrics.open("a") as file:
        file.write('{"step": ')
    assert [line["step"] for line in folder.read_metrics()] == [1, 2]
    folder.truncate_metrics(size)
    assert folder.metrics.read_text() == '{"step": 1}\n'
    with pytest.raises(RunError, match="lines are missing"):
        folder.truncate_metrics(size + 1)


def test_json_of_a_run(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "x.json", {"k": [1, None]})
    assert read_json(tmp_path / "a" / "x.json") == {"k": [1, None]}
    with pytest.raises(RunError, match=r"not a complete run: y\.json is missing"):
        read_json(tmp_path / "y.json")
    (tmp_path / "y.json").write_text("{")
    with pytest.raises(RunError, match=r"y\.json is damaged"):
        read_json(tmp_path / "y.json")
