from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hemix.world import Knobs, World, write_world

SMALL = {"taste_dim": 4, "days": 8, "warm_up_days": 3, "categories": 12, "groups": 4, "districts": 6, "candidates": 8}


@pytest.fixture(scope="session")
def world() -> World:
    return World(knobs=Knobs(**SMALL), seed=5, impressions=12_001)


@pytest.fixture(scope="session")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("city") / "made"
    write_world(world, out)
    return out


@pytest.fixture(scope="session")
def tables(folder: Path) -> dict:
    """Columns of the raw tables and of the truth, as arrays; times in seconds."""
    found = {}
    for path in sorted(folder.rglob("*.parquet")):
        table = pq.read_table(path)
        columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names}
        if "time" in columns:
            columns["time"] = columns["time"].astype("datetime64[s]").astype("int64")
        found[path.relative_to(folder).with_suffix("").as_posix()] = columns
    return found
