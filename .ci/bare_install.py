"""Run by the Python of an environment that holds only the wheel and its base dependencies: all of it must import."""

import importlib
import pkgutil
import re
import sys
import sysconfig
from importlib.metadata import distribution, distributions
from pathlib import Path

import hemix

MAX_MEGABYTES = 400
"""Of everything that is installed beside torch and what torch itself needs."""


def main() -> None:
    names = [module.name for module in pkgutil.walk_packages(hemix.__path__, "hemix.")]
    for name in names:
        importlib.import_module(name)
    for name in hemix.__all__:
        getattr(hemix, name)
    site = Path(sysconfig.get_paths()["purelib"])
    if not Path(hemix.__file__).is_relative_to(site):
        sys.exit(f"hemix was imported from {hemix.__file__}, not from the installed wheel")
    if not (site / "hemix" / "py.typed").exists():
        sys.exit("the wheel lacks py.typed")
    apart = needs("torch") | {"pip"}
    size = sum(megabytes(name) for name in {found.name.lower() for found in distributions()} - apart)
    print(f"{len(names)} modules import; {size:.0f} MB beside torch")
    if size > MAX_MEGABYTES:
        sys.exit(f"more than {MAX_MEGABYTES} MB beside torch")


def needs(name: str) -> set[str]:
    """A distribution and all that it requires without extras, in lower case."""
    found, waiting = set(), [name]
    while waiting:
        current = waiting.pop().lower()
        if current not in found:
            found.add(current)
            required = [text for text in distribution(current).requires or () if "extra ==" not in text]
            waiting += [re.split(r"[^A-Za-z0-9._-]", text)[0] for text in required if is_installed(text)]
    return found


def is_installed(requirement: str) -> bool:
    name = re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-")
    return name in {found.name.lower().replace("_", "-") for found in distributions()}


def megabytes(name: str) -> float:
    files = [Path(str(file.locate())) for file in distribution(name).files or ()]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


if __name__ == "__main__":
    main()
