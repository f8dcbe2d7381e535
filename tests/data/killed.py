"""Prepare a store over and over, after saying so; a test kills it meanwhile."""

import sys
from pathlib import Path

from data.tables import data_config
from hemix.data.prepare import prepare


def main() -> None:
    folder = Path(sys.argv[1])
    config = data_config(tables={"log": {"path": "log.csv"}})
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        prepare(config, folder / sys.argv[2], root=folder, threads=1)


if __name__ == "__main__":
    main()
