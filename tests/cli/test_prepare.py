"""What `hemix prepare` says of a store."""

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from hemix.cli import app

CONFIG = """
data:
  tables: {log: {path: log.csv}}
  examples: {table: log, user: user, item: item, time: time}
  labels: [{name: click}, {name: order}]
  features: {candidate: [{kind: categorical, column: item}]}
  split: {by: user, fractions: [0.6, 0.2, 0.2]}
"""


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def write_day(folder: Path, day: int, clicks: list[int], orders: list[int]) -> None:
    rows = [
        f"u{n % 12},i{n % 5},{day * 86_400 + n},{clicks[n % len(clicks)]},{orders[n % len(orders)]}" for n in range(120)
    ]
    (folder / "log.csv").write_text("\n".join(["user,item,time,click,order", *rows]))


def test_rates_of_the_store_and_of_the_newest_segment(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(CONFIG)
    command = ("prepare", tmp_path / "shop.yaml", "--out", tmp_path / "store", "--json", tmp_path / "figures.json")
    write_day(tmp_path, 1, [0, 0, 0, 1, 1, 1, 0], [0, 1, 0, 0, 0])
    first = run(*command)
    assert first.exit_code == 0, first.output
    assert "newest segment" not in first.output
    assert "Note" not in first.output
    write_day(tmp_path, 2, [0, 1], [0])
    second = run(*command, "--append")
    assert second.exit_code == 0, second.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    rates = figures["positive_rates"]
    assert list(rates["click"]) == ["train", "valid", "test", "the newest segment"]
    assert (rates["click"]["the newest segment"], rates["order"]["the newest segment"]) == (0.5, 0.0)
    parts = {part["split"]: part["rows"] for part in figures["splits"]}
    orders = sum(parts[split] * rates["order"][split] for split in parts)
    assert (sum(parts.values()), round(orders)) == (240, 24)
    assert "50.0% of the newest segment." in second.output
    assert "Note: all rows of the newest segment have the same order" in " ".join(second.output.split())
    assert "the same click" not in second.output
