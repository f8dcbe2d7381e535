"""Training steps with `FastDropout` and with torch's dropout: a deep network, and the contrastive part of CL4CTR.

Forward and backward of 4,096 rows of ten fields of width 16, on one thread. The deep network has three layers of 200
units with batch norm and dropout .5, as in the studies on Frappe; the encoder of CL4CTR has its default settings, in
slices of rows that fit the cache, beside all rows at once with torch's dropout.
Usage: bench_dropout.py [--rounds K]
"""

import argparse
import statistics
import sys
import time

import turns

ROWS, FIELDS, WIDTH = 4096, 10, 16
STEPS = 20


def deep_network(system: str) -> float:
    """Seconds of a step."""
    import torch
    from torch import nn

    from hemix.nn.deep import DeepNetwork

    network = DeepNetwork(FIELDS * WIDTH, (200, 200, 200), dropout=0.5)
    if system == "torch":
        for index, layer in enumerate(network):
            if isinstance(layer, nn.Dropout):
                network[index] = nn.Dropout(layer.p)
    x = torch.randn(ROWS, FIELDS * WIDTH, requires_grad=True)
    return seconds(lambda: network(x).sum().backward())


def contrast(system: str) -> float:
    """Seconds of a step."""
    import torch
    from torch import nn

    from hemix.batch import FieldSpec, Inputs, TableSpec, TaskSpec
    from hemix.models.fm import FMConfig
    from hemix.objectives import cl4ctr
    from hemix.ranker import build_ranker

    tables = tuple(TableSpec(name=f"t{i}", num_ids=100) for i in range(FIELDS))
    fields = tuple(FieldSpec(name=t.name, kind="id", start=i, width=1, table=t.name) for i, t in enumerate(tables))
    inputs = Inputs(tables=tables, request=fields[1:], candidate=fields[:1], tasks=(TaskSpec(name="label"),))
    objective = cl4ctr.CL4CTR(cl4ctr.CL4CTRConfig(), build_ranker(inputs, FMConfig(embedding_dim=WIDTH), seed=0))
    if system == "torch":
        cl4ctr.ROWS_AT_ONCE = ROWS
        for layer in objective.encoder.layers:
            for name in ("dropout", "dropout1", "dropout2"):
                setattr(layer, name, nn.Dropout(objective.config.dropout))
    x = torch.randn(ROWS, FIELDS, WIDTH, requires_grad=True)
    return seconds(lambda: objective.contrast(x).backward())


def seconds(step) -> float:  # noqa: ANN001 -- any function
    step()
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


PARTS = {"deep network": deep_network, "CL4CTR": contrast}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["hemix", "torch"])
    parser.add_argument("--part", choices=PARTS)
    options = parser.parse_args()
    if options.only:
        import torch

        torch.set_num_threads(1)
        return turns.finish({"rows/s": ROWS / PARTS[options.part](options.only)})
    note = (__doc__ or "").rsplit("Usage", maxsplit=1)[0].strip()
    tables = [
        turns.report(
            f"Dropout: {part}",
            turns.in_turn(__file__, ["hemix", "torch"], ["--part", part], options.rounds),
            "rows/s",
            note,
        )
        for part in PARTS
    ]
    turns.save("dropout", "\n".join(tables))


if __name__ == "__main__":
    sys.exit(main())
