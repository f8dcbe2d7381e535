"""Do our DIN and DLRM reach what another library's models reach on the same features and budget?

Both sides train on the batches of one store of MovieLens-1M (split by the clock): user, gender, age, occupation, movie,
year, genres, and one history of the last 50 movies and their years, without ratings or times. torch-rechub has DIN and
no DLRM; DeepFM with mean-pooled histories (dot products of all fields beside an MLP) is the nearest. Each system
chooses its learning rate among three by validation AUC with the first seed, and the epoch in each run likewise.
Needs `pip install torch-rechub==0.9.0 scikit-learn`. FOLDER: as for studies/movielens-1m-time.yaml.
Usage: torch_rechub_parity.py FOLDER [--work DIR] [--seeds 1 2 3] [--epochs 2] [--jobs 1] [--result FILE]
"""

import argparse
import multiprocessing
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import torch
import turns
from torch import Tensor, nn
from torch_rechub.basic.features import SequenceFeature, SparseFeature  # pyright: ignore[reportMissingImports]
from torch_rechub.models.ranking import DIN, DeepFM  # pyright: ignore[reportMissingImports]

from hemix.batch import Batch
from hemix.config import parse_config
from hemix.data.loader import Loader
from hemix.data.manifest import MANIFEST
from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.evaluate.evaluator import predict_split
from hemix.evaluate.metrics import auc
from hemix.experiment import Experiment
from hemix.recipes import movielens_1m
from hemix.run import train
from hemix.training.folder import read_json, write_json

BATCH_SIZE, DIM = 1024, 16
ADAM_RATES = (3e-4, 1e-3, 3e-3)
TABLE_RATES = (0.02, 0.05, 0.1)
HISTORY = {"recent": {"events": "ratings", "max_length": 50, "item_features": ["movie_id", "year"], "time_gap": False}}


def experiment(folder: Path, model: str, epochs: int) -> Experiment:
    """Our side: the recipe of MovieLens-1M with one plain history."""
    complete = "user_complete" in pq.read_schema(folder / "ratings.parquet").names
    values = movielens_1m("din" if model == "DIN" else "dlrm", complete_users_only=complete).model_dump(mode="json")
    values["data"]["histories"] = HISTORY
    values["data"]["events"]["ratings"]["features"] = []
    values["train"] |= {"epochs": epochs, "batch_size": BATCH_SIZE, "patience": None}
    return parse_config(Experiment, values, "torch_rechub_parity")


class Theirs(nn.Module):
    """A torch-rechub model as a scorer of our batches; probabilities come back as logits."""

    def __init__(self, store: Store, build: Callable[["Theirs"], nn.Module]) -> None:
        super().__init__()
        self.inputs = store.inputs
        sizes = {table.name: table.num_ids for table in self.inputs.tables}
        self.sparse = {
            f.name: SparseFeature(f.name, sizes[f.table or ""], DIM)
            for f in (*self.inputs.request, *self.inputs.candidate)
            if f.kind == "id"
        }
        self.sets = {
            f.name: SequenceFeature(f.name, sizes[f.table or ""], DIM, pooling="mean", padding_idx=0)
            for f in (*self.inputs.request, *self.inputs.candidate)
            if f.kind == "ids"
        }
        self.past = {f.name: (f, sizes[f.table or ""]) for f in self.inputs.histories[0].fields if f.kind == "id"}
        self.model = build(self)

    def history(self, name: str, pooling: str) -> SequenceFeature:
        """A field of the history that shares the table of the candidate's."""
        return SequenceFeature(
            f"past {name}", self.past[name][1], DIM, pooling=pooling, shared_with=name, padding_idx=0
        )

    def columns(self, batch: Batch) -> dict[str, Tensor]:
        """The dictionary of columns that torch-rechub reads; what belongs to the request is repeated for each row."""
        counts = batch.offsets.diff()
        of_row = torch.repeat_interleave(torch.arange(len(counts)), counts)
        found: dict[str, Tensor] = {}
        for fields, ids, rows in (
            (self.inputs.request, batch.requests.columns.ids, of_row),
            (self.inputs.candidate, batch.candidates.ids, slice(None)),
        ):
            for f in fields:
                chosen = ids[:, f.start : f.start + f.width][rows]
                found[f.name] = chosen if f.kind == "ids" else chosen[:, 0]
        events = batch.requests.histories[self.inputs.histories[0].name].events.ids
        for name, (f, _) in self.past.items():
            found[f"past {name}"] = events[:, :, f.start][of_row]
        return found

    def probability(self, batch: Batch) -> Tensor:
        return self.model(self.columns(batch)).clamp(1e-7, 1 - 1e-7)

    def forward(self, batch: Batch) -> Tensor:
        return torch.logit(self.probability(batch).double()).float()[:, None]


def their_din(parts: Theirs) -> nn.Module:
    """Attention over movies and over years, with the widths of our DIN."""
    targets = [parts.sparse[name] for name in parts.past]
    others = [f for name, f in parts.sparse.items() if name not in parts.past]
    return DIN(
        features=[*others, *parts.sets.values()],
        history_features=[parts.history(name, "concat") for name in parts.past],
        target_features=targets,
        mlp_params={"dims": [200, 80]},
        attention_mlp_params={"dims": [64]},
    )


def their_deepfm(parts: Theirs) -> nn.Module:
    """All fields and the mean of each history field, in both parts, with the widths of our DLRM."""
    fields = [*parts.sparse.values(), *parts.sets.values(), *(parts.history(name, "mean") for name in parts.past)]
    return DeepFM(deep_features=fields, fm_features=fields, mlp_params={"dims": [256, 128]})


def scores(scorer: nn.Module, store: Store) -> dict[str, float]:
    """AUC on validation and test."""
    found = {}
    for split in ("valid", "test"):
        rows = predict_split(
            scorer,  # pyright: ignore[reportArgumentType]
            Loader(store.split(split), batch_size=4096, seed=None),
            device=torch.device("cpu"),
        )
        found[split] = auc(rows.logits[:, 0], rows.labels[:, 0])
    return found


def train_theirs(store: Store, build: Callable[[Theirs], nn.Module], rate: float, seed: int, epochs: int) -> dict:
    """Dense Adam as in its own trainer (weight decay 1e-5); the epoch with the best validation AUC counts."""
    torch.manual_seed(seed)
    system = Theirs(store, build)
    optimizer = torch.optim.Adam(system.parameters(), lr=rate, weight_decay=1e-5)
    loader = Loader(store.split("train"), batch_size=BATCH_SIZE, seed=seed)
    best = {"valid": 0.0}
    for _ in range(epochs):
        system.train()
        for batch in loader:
            assert batch.labels is not None
            loss = nn.functional.binary_cross_entropy(system.probability(batch), batch.labels[:, 0])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        best = max(best, scores(system.eval(), store), key=lambda found: found["valid"])
    return best


def train_ours(base: Experiment, store: Store, rate: float, seed: int, out: Path) -> dict[str, float]:
    """A run with the default optimizers and this learning rate of the tables."""
    tried = base.model_copy(update={"train": base.train.model_copy(update={"table_lr": rate})})
    run = train(tried, store, out, seed=seed, resume=(out / "config.json").exists())
    return scores(run.ranker, store)


THEIRS = {"DIN": ("torch-rechub DIN", their_din), "DLRM": ("torch-rechub DeepFM, mean-pooled", their_deepfm)}


@dataclass(frozen=True)
class Fit:
    """One training: whose model, at which learning rate, from which seed."""

    side: str
    model: str
    rate: float
    seed: int
    epochs: int

    def run(self, folder: Path, work: Path) -> dict[str, float]:
        """Its AUC on validation and test; what WORK holds of an earlier call is not trained again."""
        place = work / f"{self.side}-{self.model}-{self.rate:g}-{self.seed}-{self.epochs}"
        known = place.with_name(f"{place.name}.json")
        if not known.exists():
            store, base = Store.open(work / "store"), experiment(folder, self.model, self.epochs)
            if self.side == "ours":
                found = train_ours(base, store, self.rate, self.seed, place)
            else:
                found = train_theirs(store, THEIRS[self.model][1], self.rate, self.seed, self.epochs)
            write_json(known, found)
        found = read_json(known)
        print(f"{place.name}: " + ", ".join(f"{split} AUC {value:.4f}" for split, value in found.items()), flush=True)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, help="keeps what is trained; the same command goes on where it stopped")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--models", nargs="+", choices=tuple(THEIRS), default=list(THEIRS))
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side, each with OMP_NUM_THREADS threads")
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp())
    if not (work / "store" / MANIFEST).exists():
        prepare(experiment(options.folder, "DIN", options.epochs).data, work / "store", root=options.folder)
    rates_of = {"ours": TABLE_RATES, "theirs": ADAM_RATES}
    systems = {(side, model): rates for model in options.models for side, rates in rates_of.items()}
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:

        def run(fits: list[Fit]) -> dict[Fit, dict[str, float]]:
            waiting = {fit: pool.submit(fit.run, options.folder, work) for fit in fits}
            return {fit: future.result() for fit, future in waiting.items()}

        first, *others = options.seeds
        tried = run([Fit(*system, rate, first, options.epochs) for system, rates in systems.items() for rate in rates])
        best = {
            system: max((fit for fit in tried if (fit.side, fit.model) == system), key=lambda fit: tried[fit]["valid"])
            for system in systems
        }
        found = tried | run([replace(fit, seed=seed) for fit in best.values() for seed in others])
    lines = ["| system | learning rate | valid AUC | test AUC | seeds |", "|---|---|---|---|---|"]
    for (side, model), fit in best.items():
        of_seeds = [found[replace(fit, seed=seed)] for seed in options.seeds]
        valid = statistics.fmean(one["valid"] for one in of_seeds)
        test = [one["test"] for one in of_seeds]
        spread = statistics.stdev(test) if others else 0.0
        label = f"hemix {model}" if side == "ours" else THEIRS[model][0]
        figures = f"{fit.rate:g} | {valid:.4f} | {statistics.fmean(test):.4f} +/- {spread:.4f} | {len(test)}"
        lines.append(f"| {label} | {figures} |")
    print("\n".join(lines), flush=True)
    if options.result is not None:
        about = (__doc__ or "").split("Needs")[0].strip()
        head = ["# DIN and DLRM beside torch-rechub", "", about, "", turns.machine(), ""]
        options.result.write_text("\n".join([*head, *lines, ""]))


if __name__ == "__main__":
    main()
