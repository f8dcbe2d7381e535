"""What memory is left, as the system says."""

import os
from pathlib import Path

import pytest

from hemix.nn import memory


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the system's files."""
    for name in ("MEMINFO", "CGROUP_LIMIT", "CGROUP_USAGE"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    return tmp_path


def test_the_smaller_of_system_and_group(system: Path) -> None:
    (system / "MEMINFO").write_text("MemTotal: 900 kB\nMemAvailable:  500 kB\n")
    assert memory.available_memory() == 500 * 1024
    (system / "CGROUP_LIMIT").write_text("1000000\n")
    (system / "CGROUP_USAGE").write_text("600000\n")
    assert memory.available_memory() == 400_000
    (system / "CGROUP_LIMIT").write_text("max\n")
    assert memory.available_memory() == 500 * 1024


def test_elsewhere_all_physical_memory(system: Path) -> None:
    assert not list(system.iterdir())
    assert memory.available_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_unknown_where_nothing_says(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf_names", {})
    assert not list(system.iterdir())
    assert memory.available_memory() is None
