"""How much memory this process may still take."""

import os
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
CGROUP_USAGE = Path("/sys/fs/cgroup/memory.current")


def available_memory() -> int | None:
    """Bytes that can still be allocated without swapping; None where the system does not say.

    Linux: the smaller of MemAvailable and what the control group has left. Elsewhere: all physical memory, where
    `sysconf` knows it.
    """
    known = [size for size in (_unused_by_system(), _left_in_group()) if size is not None]
    if known:
        return min(known)
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" in names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _unused_by_system() -> int | None:
    if not MEMINFO.is_file():
        return None
    sizes = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines() if ":" in line)
    return int(sizes["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in sizes else None


def _left_in_group() -> int | None:
    if not (CGROUP_LIMIT.is_file() and CGROUP_USAGE.is_file()):
        return None
    limit = CGROUP_LIMIT.read_text().strip()
    return None if limit == "max" else int(limit) - int(CGROUP_USAGE.read_text())
