"""Every YAML block of docs/data.md prepares: the first one as it stands, later ones put in its place."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drafted_tables import START, write_csv, write_jsonl, write_parquet
from hemix.config_file import parse_yaml
from hemix.data.prepare import prepare
from hemix.data.public import DATASETS
from hemix.schema import DataConfig, parse_config

GUIDE = Path(__file__).parents[2] / "docs" / "data.md"
BLOCKS = [parse_yaml(text, "docs/data.md") for text in re.findall(r"```yaml\n(.*?)```", GUIDE.read_text("utf-8"), re.S)]
WHOLE: dict[str, Any] = BLOCKS[0]["data"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The tables that the guide speaks of."""
    folder = tmp_path_factory.mktemp("guide")
    write_parquet(
        folder / "impressions.parquet",
        [
            {
                "visitor": f"v{n // 3 % 17}",
                "sku": f"s{n * 7 % 23}",
                "shown_at": int(START.timestamp() * 1000) + n // 3 * 10**6,
                "page_view": f"p{n // 3}",
                "click": n * 5 % 7 % 2,
                "ordered": n * 3 % 5 % 2,
                "dwell": n % 60,
                "position": n % 3 + 1,
                "device": "Web",
                "searched_brand": f"b{n % 4}",
                "discount": n % 5 / 10,
                "lat": 52 + n % 9 / 10,
                "lon": 13.4,
                "part": "train" if n < 400 else "valid" if n < 500 else "test",
            }
            for n in range(600)
        ],
    )
    write_csv(
        folder / "shoppers.csv",
        [{"visitor": f"v{n}", "country": "de", "age": 20 + n, "signed_up": "2023-05-01"} for n in range(17)],
    )
    goods: list[dict[str, Any]] = [
        {
            "sku": f"s{n}",
            "brand": f"b{n % 4}",
            "price": 1.5 * n,
            "weight": None if n == 3 else n / 2,
            "tags": ["a", "b"][: n % 3],
            "colours": "red|blue" if n % 2 else "red",
            "added": f"{n + 1:02}.01.2024",
            "depot_lat": 52.5,
            "depot_lon": 13 + n / 9,
            "picture": [0.1, 0.2, n / 9],
        }
        for n in range(23)
    ]
    write_parquet(folder / "goods.parquet", goods)
    prices = [row | {"since": START + timedelta(days=2 * day)} for row in goods for day in (-9, 1)]
    write_parquet(folder / "prices.parquet", prices)
    write_parquet(folder / "vectors.parquet", [{"value": f"s{n}", "vector": [0.5, 1.0, 0.0, n / 9]} for n in range(20)])
    write_jsonl(
        folder / "visits.jsonl",
        [
            {"visitor": f"v{n % 17}", "sku": f"s{n * 5 % 23}", "seen_at": (START + timedelta(hours=n / 3)).isoformat()}
            | {"action": "order" if n % 6 == 0 else "look"}
            for n in range(500)
        ],
    )
    return folder


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block-{number}" for number in range(len(BLOCKS))])
def test_a_block_of_the_guide_prepares(block, folder, tmp_path):
    config = parse_config(DataConfig, {**WHOLE, **block.get("data", block)}, "docs/data.md")
    if "features" in block:  # histories name features that the block does not repeat
        config = config.model_copy(update={"histories": {}})
    store = prepare(config, tmp_path / "store", root=folder)
    assert all(store.split(name).num_rows > 0 for name in ("train", "valid", "test"))


def test_every_kind_of_feature_label_and_draw_is_shown():
    shown = set(re.findall(r"kind: (\w+)", GUIDE.read_text("utf-8")))
    assert shown == {
        "categorical",
        "multi_categorical",
        "numeric",
        "timestamp",
        "geo",
        "distance",
        "vector",
        "window_count",
        *("uniform", "popularity", "nearby"),
        "regression",
    }


def test_every_key_of_the_data_section_is_shown():
    shown = {key for block in BLOCKS for key in block.get("data", block)}
    assert shown == set(DataConfig.model_fields)


def test_the_table_of_public_data_is_complete():
    text = GUIDE.read_text("utf-8")
    for dataset in DATASETS.values():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{dataset.name}`"))
        assert ", ".join(dataset.tables) in row
        # the size of a data set is that of its examples: all parts of Frappe, and the first table of the others
        total = sum(dataset.rows.values()) if dataset.name == "frappe" else next(iter(dataset.rows.values()))
        assert f"{total:,}" in row
