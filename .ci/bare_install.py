"""Run by the Python of an environment that holds only the wheel and its base dependencies: all of it must import."""

import importlib
import pkgutil
import sys
import sysconfig
from pathlib import Path

import hemix

MAX_MEGABYTES_BESIDE_TORCH = 400


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
    beside_torch = [path for path in site.rglob("*") if path.is_file() and path.relative_to(site).parts[0] != "torch"]
    megabytes = sum(path.stat().st_size for path in beside_torch) / 1e6
    print(f"{len(names)} modules import; {megabytes:.0f} MB beside torch")
    if megabytes > MAX_MEGABYTES_BESIDE_TORCH:
        sys.exit(f"more than {MAX_MEGABYTES_BESIDE_TORCH} MB beside torch")


if __name__ == "__main__":
    main()
