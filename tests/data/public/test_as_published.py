"""From the file that a person brings to a trained model, as a user does it."""

import gzip
import io
import random
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data.public.test_avazu import HEADER, ROW
from data.public.test_kuairand import BARE, FILM, GAPS, LOG, PERSON, RANDOM, SHOWN, USER, VIDEO
from hemix.cli import app
from hemix.data.public import DATASETS
from hemix.data.public.kuairand import LOGS

ROWS = 400


def criteo() -> bytes:
    dice = random.Random(1)
    lines = []
    for n in range(ROWS):
        numbers = [dice.choice(["", "-1", "7", "40000"]) for _ in range(13)]
        categories = [dice.choice(["", "68fd1e64", f"{dice.randrange(9):08x}"]) for _ in range(26)]
        lines.append("\t".join([str(n % 4 // 3), *numbers, *categories]))
    return "".join(line + "\n" for line in lines).encode()


def avazu() -> bytes:
    dice = random.Random(2)
    rows = [ROW.split(",") for _ in range(ROWS)]
    for number, row in enumerate(rows):
        row[:3] = [str(number), str(dice.randrange(4) // 3), f"1410{21 + number % 9}{number % 24:02}"]
        row[5] = f"{dice.randrange(5):08x}"
    return "".join(f"{line}\n" for line in (HEADER, *(",".join(row) for row in rows))).encode()


def kuairand() -> dict[str, list[str]]:
    dice = random.Random(3)
    logs: list[list[str]] = [[LOG], [LOG], [LOG]]
    for number in range(ROWS):
        row = (RANDOM if number % 9 == 8 else SHOWN).split(",")
        row[0], row[1] = dice.choice(["0", "17387"]), dice.choice(["6", "10"])
        row[4] = str(1_650_000_000_000 + 3_600_000 * number)
        row[5] = str(dice.randrange(2))
        row[11] = str(dice.randrange(2))
        logs[2 if number % 9 == 8 else number // 200].append(",".join(row))
    people, films = [USER, PERSON, GAPS], [VIDEO, FILM, BARE]
    return dict(zip(LOGS, logs, strict=True)) | {
        "user_features_pure.csv": people,
        "video_features_basic_pure.csv": films,
    }


def tar_gz(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as opened:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def kuairand_archive() -> bytes:
    return tar_gz(
        {f"KuaiRand-Pure/data/{name}": "\n".join([*lines, ""]).encode() for name, lines in kuairand().items()}
    )


FILES = {
    "criteo": {"train.txt": criteo},
    "criteo packed": {"dac.tar.gz": lambda: tar_gz({"readme.txt": b"Terms.", "train.txt": criteo()})},
    "avazu": {"train.gz": lambda: gzip.compress(avazu())},
    "kuairand-pure": {"KuaiRand-Pure.tar.gz": kuairand_archive},
}


def call(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("case", FILES)
def test_from_the_published_file_to_a_model(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the real data only the row counts and the checksum are another's."""
    name = case.split()[0]
    known = DATASETS[name]
    sources = tuple(
        replace(source, files=tuple(replace(file, digests=()) for file in source.files)) for source in known.sources
    )
    monkeypatch.setitem(DATASETS, name, replace(known, rows={known.tables[0]: ROWS}, sources=sources))
    folder = tmp_path / "data"
    folder.mkdir()
    for file, content in FILES[case].items():
        (folder / file).write_bytes(content())
    assert known.citation.split(".")[0] in call("data", "get", name, "--dir", folder)
    assert not list(folder.glob(".converting-*"))
    config = folder / "experiment.yaml"
    call("prepare", config, "--out", tmp_path / "store")
    quick = ("--set", "train.max_steps=2", "--set", "train.batch_size=64")
    call("train", config, "--data", tmp_path / "store", "--out", tmp_path / "run", *quick)
    call("evaluate", tmp_path / "run")


def test_the_real_counts_are_checked(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(criteo())
    done = CliRunner().invoke(app, ["data", "get", "criteo", "--dir", str(tmp_path)])
    assert done.exit_code == 2
    assert f"table examples has 45840617 rows as published, these files give {ROWS}" in " ".join(done.stderr.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.txt"]
