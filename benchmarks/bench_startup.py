"""What a user waits for before anything happens: `hemix --help`, and `import hemix` beside `import torch`.

Usage: bench_startup.py [--rounds K]
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import turns

COMMANDS = {
    "hemix --help": [str(Path(sys.executable).with_name("hemix")), "--help"],
    "import hemix": [sys.executable, "-c", "import hemix"],
    "import hemix, use it": [sys.executable, "-c", "import hemix; hemix.Run, hemix.train, hemix.Store"],
    "import torch": [sys.executable, "-c", "import torch"],
    "python": [sys.executable, "-c", "pass"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(options.rounds + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            # the first round fills the disk cache and is not counted
            if number:
                found[name].append(time.perf_counter() - start)
    torch = found["import torch"]
    lines = [
        "# Start-up",
        "",
        turns.machine(),
        "",
        "| command | median s | min .. max | of `import torch` |",
        "|---|---|---|---|",
    ]
    for name, seconds in found.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, torch, strict=True))
        spread = f"{min(seconds):.2f} .. {max(seconds):.2f}"
        lines.append(f"| {name} | {statistics.median(seconds):.2f} | {spread} | {ratio:.2f} |")
    turns.save("startup", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
