"""From the file that a person brings to a trained model, as a user does it."""

import gzip
import io
import random
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data.public.test_avazu import HEADER, ROW
from data.public.test_kuairand import BARE, FILM, GAPS, LOG, PERSON, RANDOM, SHOWN, USER, VIDEO
from hemix.cli import app
from hemix.data.public import DATASETS
from hemix.data.public.kuairand import LOGS
from published_sequences import ROWS, amazon, kuaivideo, taobao


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


def zipped(files: dict[str, bytes], folder: str = "") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(folder + name, content)
    return packed.getvalue()


def kuaivideo_packed() -> dict[str, bytes]:
    files = kuaivideo()
    array = files.pop("visual64_select.npy")
    return {"KuaiVideo_x1.zip": zipped(files | {"item_visual_emb_dim64.h5": b""}), "visual64_select.npy": array}


FILES: dict[str, Callable[[], dict[str, bytes]]] = {
    "criteo": lambda: {"train.txt": criteo()},
    "criteo packed": lambda: {"dac.tar.gz": tar_gz({"readme.txt": b"Terms.", "train.txt": criteo()})},
    "avazu": lambda: {"train.gz": gzip.compress(avazu())},
    "kuairand-pure": lambda: {"KuaiRand-Pure.tar.gz": kuairand_archive()},
    "amazon-electronics": amazon,
    "amazon-electronics packed": lambda: {"AmazonElectronics_x1.zip": zipped(amazon(), "AmazonElectronics_x1/")},
    "taobao-ad": taobao,
    "taobao-ad packed": lambda: {f"{name}.tar.gz": tar_gz({name: content}) for name, content in taobao().items()},
    "kuaivideo": kuaivideo,
    "kuaivideo packed": kuaivideo_packed,
}


def call(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if case == "amazon-electronics" else pytest.mark.slow) for case in FILES],
)
def test_from_the_published_file_to_a_model(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the real data only the row counts and the checksums are another's."""
    name = case.split()[0]
    known = DATASETS[name]
    sources = tuple(
        replace(
            source,
            files=tuple(replace(file, digests=()) for file in source.files),
            members=dict.fromkeys(source.members, ()),
        )
        for source in known.sources
    )
    monkeypatch.setitem(DATASETS, name, replace(known, rows={known.tables[0]: ROWS}, sources=sources))
    folder = tmp_path / "data"
    folder.mkdir()
    for file, content in FILES[case]().items():
        (folder / file).write_bytes(content)
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


def test_one_of_several_archives_is_damaged_or_another(tmp_path: Path) -> None:
    files = {f"{name}.tar.gz": tar_gz({name: content}) for name, content in taobao().items()}
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    damaged = tmp_path / "behavior_log.csv.tar.gz"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    done = CliRunner().invoke(app, ["data", "get", "taobao-ad", "--dir", str(tmp_path)])
    assert done.exit_code == 2
    assert "behavior_log.csv.tar.gz is not a whole tar.gz archive" in " ".join(done.stderr.split())
    damaged.write_bytes(files["raw_sample.csv.tar.gz"])
    done = CliRunner().invoke(app, ["data", "get", "taobao-ad", "--dir", str(tmp_path)])
    message = "".join(done.stderr.split())
    assert "Noneof" in message
    assert "behavior_log.csv.tar.gzhasbehavior_log.csv,whichthepublishedarchivehas" in message


def test_files_of_bars_are_known_by_their_checksums(tmp_path: Path) -> None:
    for file, content in amazon().items():
        (tmp_path / file).write_bytes(content)
    done = CliRunner().invoke(app, ["data", "get", "amazon-electronics", "--dir", str(tmp_path)])
    assert done.exit_code == 2
    message = " ".join(done.stderr.split())
    assert "train.csv must have md5 e9bf80b92985e463db18fdc753d347b5 (published by BARS with" in message
    for file in amazon():
        (tmp_path / file).unlink()
    (tmp_path / "AmazonElectronics_x1.zip").write_bytes(zipped(amazon()))
    done = CliRunner().invoke(app, ["data", "get", "amazon-electronics", "--dir", str(tmp_path)])
    assert done.exit_code == 2
    assert "train.csv must have md5 e9bf80b92985e463db18fdc753d347b5" in " ".join(done.stderr.split())


def test_what_has_to_be_brought_by_hand_is_named(tmp_path: Path) -> None:
    """Before anything is fetched: the array of ALPINE is behind a page."""
    done = CliRunner().invoke(app, ["data", "get", "kuaivideo", "--dir", str(tmp_path)])
    assert done.exit_code == 2
    message = "".join(done.stderr.split())
    assert "visual64_select.npyisbehindapage" in message
    assert "https://github.com/liyongqi67/ALPINE->" in message
    assert "https://huggingface.co/datasets/reczoo/KuaiVideo_x1/resolve/main/KuaiVideo_x1.zip->" in message
