"""The whole path from Python: tables, store, two models, which is better, scores for new rows.

Run: python examples/bookshop.py . && python examples/train_from_python.py
"""

from pathlib import Path

import hemix


def main(folder: Path) -> None:
    hemix.write_draft([folder / "offers.csv", folder / "books.csv"], folder / "shop.yaml")
    experiment = hemix.load_experiment(folder / "shop.yaml", ["train.epochs=2"])
    store = hemix.prepare(experiment.data, folder / "store", root=folder)

    run = hemix.train(experiment, store, folder / "runs" / "hemix", seed=1)
    report = run.evaluate("test")
    auc = report.first.metrics["auc"]
    print(f"HeMix: test AUC {auc.value:.3f}, 95 % interval {auc.low:.3f} .. {auc.high:.3f}")

    # any key can be set, a whole section too
    other = hemix.load_experiment(
        folder / "shop.yaml", ["name=shop-dlrm", "train.epochs=2", "model={name: dlrm, embedding_dim: 16}"]
    )
    baseline = hemix.train(other, store, folder / "runs" / "dlrm", seed=1)
    for found in hemix.compare([baseline, run]).against("shop-dlrm"):
        if found.metric in ("auc", "gauc", "log_loss"):
            print(f"HeMix - DLRM, {found.metric}: {found.value:+.4f}, interval {found.low:+.4f} .. {found.high:+.4f}")

    rows = hemix.predict(run, folder / "offers.csv", folder / "scored.parquet")
    print(f"{rows:,} rows scored")


if __name__ == "__main__":
    main(Path())
