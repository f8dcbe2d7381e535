"""What a model sees: one batch of a store, requests with their histories, and the candidates of each.

Run after examples/train_from_python.py: python examples/look_at_batches.py
"""

from pathlib import Path

import hemix
from hemix.data.loader import Loader


def main(folder: Path) -> None:
    store = hemix.Store.open(folder / "store")
    for side in ("request", "candidate"):
        print(f"{side}: " + ", ".join(f"{field.name} ({field.kind})" for field in getattr(store.inputs, side)))

    loader = Loader(store.split("train"), batch_size=64, seed=0)
    batch = next(iter(loader))
    num_requests = len(batch.offsets) - 1
    print(f"\n{batch.num_rows} candidates of {num_requests} requests; request r has rows offsets[r] to offsets[r + 1]")
    for name, history in batch.requests.histories.items():
        longest, mean = int(history.lengths.max()), float(history.lengths.float().mean())
        print(f"history {name}: ids {tuple(history.events.ids.shape)}, {mean:.1f} events on average, {longest} at most")
    assert batch.labels is not None
    print(f"labels {tuple(batch.labels.shape)}, {batch.labels.mean():.1%} are 1")

    # a model reads the request once, whatever the number of candidates
    ranker = hemix.Run.open(folder / "runs" / "hemix").ranker
    state = ranker.encode(batch.requests)
    logits = ranker.score(state, batch.candidates, batch.offsets)
    print(f"state: {', '.join(f'{name} {tuple(tensor.shape)}' for name, tensor in state.items())}")
    print(f"logits {tuple(logits.shape)}")


if __name__ == "__main__":
    main(Path())
