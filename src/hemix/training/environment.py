"""What a run ran on: versions, hardware, threads and commit. No host name, user name or home folder."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hemix import __version__


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Versions, platform, processor, cores, threads and commit of this process."""
    return {
        "hemix": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device.type if device.type != "cuda" else torch.cuda.get_device_name(device),
        "commit": commit_of(Path(__file__).parent),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit_of(folder: Path) -> str | None:
    """Commit of the git repository that tracks `folder`, with ``+changes`` if files differ; None: no repository."""
    tracked = _git(folder, "ls-files", "--error-unmatch", ".")
    commit = _git(folder, "rev-parse", "HEAD") if tracked else None
    if not commit:
        return None
    return commit + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no", ":/") else "")


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def portable_path(target: Path, start: Path) -> str:
    """`target` relative to the folder `start`; from the home folder (``~``) if only that way it names no user."""
    target, start, home = target.resolve(), start.resolve(), Path.home().resolve()
    if target.is_relative_to(home) and not start.is_relative_to(home):
        return f"~/{target.relative_to(home).as_posix()}"
    try:
        return Path(os.path.relpath(target, start)).as_posix()
    except ValueError:  # another drive
        return target.as_posix()
