"""`hemix prepare`: raw tables become a store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hemix.cli.terminal import JsonFile, Overrides, grouped, say, show_rows, working, write_json

if TYPE_CHECKING:
    from hemix.data.store import Store


def prepare(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Experiment file; only its section `data` is used.")],
    out: Annotated[Path, typer.Option("--out", metavar="STORE", help="Folder of the store to write.")],
    append: Annotated[bool, typer.Option("--append", help="Add a segment to an existing store.")] = False,
    on_bad_rows: Annotated[
        Literal["error", "quarantine"],
        typer.Option(help="Stop at a row that breaks the schema, or put it aside with its reason."),
    ] = "error",
    memory_limit: Annotated[str, typer.Option(metavar="SIZE", help="Memory of the sorting engine, 500MB say.")] = "1GB",
    threads: Annotated[int | None, typer.Option(min=1, help="Default: all cores.")] = None,
    overrides: Overrides = None,
    json: JsonFile = None,
) -> None:
    """Encode raw tables into a store: sorted, split, hashed. It appears whole or not at all."""
    from hemix.config_file import load_data_config
    from hemix.data.prepare import prepare as prepare_store

    data = load_data_config(config, overrides or [])
    with working(f"Preparing {out}"):
        store = prepare_store(
            data,
            out,
            root=config.parent,
            append=append,
            on_bad_rows=on_bad_rows,
            memory_limit=memory_limit,
            threads=threads,
        )
    show_store(store)
    write_json(json, store_figures(store))


def show_store(store: "Store") -> None:
    """Counts of a store, and what of the raw rows did not fit."""
    figures = store_figures(store)
    rows = [(split["split"], grouped(split["requests"]), grouped(split["rows"])) for split in figures["splits"]]
    title = f"{store.path}: {figures['bytes'] / 1e6:,.1f} MB, split by {store.config.split.by}"
    show_rows(title, ("split", "requests", "rows"), rows)
    logs = [f"{grouped(count)} events in {name}" for name, count in figures["events"].items()]
    say(", ".join([f"{grouped(figures['users'])} users", f"{grouped(figures['items'])} items", *logs]) + ".")
    for label, rates in figures["positive_rates"].items():
        say(f"{label} = 1 in " + ", ".join(f"{rate:.1%} of {split}" for split, rate in rates.items()) + ".")
        for split in (split for split, rate in rates.items() if rate in (0, 1)):
            say(f"Note: all rows of {split} have the same {label}; nothing can be ranked by it there.")
    if figures["drawn_per_request"]:
        say(f"Rows count {figures['drawn_per_request']} negatives that are drawn for each request when it is read.")
    for label, means in figures["means"].items():
        say(f"{label} is " + ", ".join(f"{mean:,.4g} in {split}" for split, mean in means.items()) + " on average.")
    misfits = {
        "quarantined": f"rows were put aside, with the reason in {store.path}/segment-*/quarantine.csv",
        "rows_without_item": "rows have an item that is not in the catalog; they get the unknown item",
        "events_without_item": "events have an item that is not in the catalog; they get the unknown item",
        "rows_without_profile": "rows have a user without a profile; they get the unknown one",
        "rows_too_new": "rows are left out: before them nobody had met their item, or too few others were known",
    }
    for key, text in misfits.items():
        if figures[key]:
            say(f"Note: {grouped(figures[key])} {text}.")


def store_figures(store: "Store") -> dict[str, Any]:
    """What a store holds, all segments together; rates also of the newest segment, if there are several."""
    from hemix.data.manifest import SplitCount

    segments = store.manifest.segments
    newest = segments[-1]
    views = {name: store.split(name) for name in ("train", "valid", "test")}
    drawn = store.config.negatives.num if store.config.negatives else 0
    counts = {name: store.manifest.count(name) for name in views}
    if len(segments) > 1:
        counts["the newest segment"] = SplitCount.sum([*newest.splits.values()], like=counts["train"])

    def total(key: str) -> int:
        return sum(getattr(segment, key) for segment in segments)

    return {
        "path": str(store.path),
        "hash": store.hash,
        "segments": len(segments),
        "split_by": store.config.split.by,
        "splits": [
            {"split": name, "requests": view.num_requests, "rows": view.num_rows} for name, view in views.items()
        ],
        "positive_rates": {
            label.name: {
                name: count.positives[k] / (count.rows - count.unlabelled[k] + drawn * count.requests)
                for name, count in counts.items()
                if count.rows > count.unlabelled[k]
            }
            for k, label in enumerate(store.config.labels)
            if label.kind == "binary"
        },
        "means": {
            label.name: {
                name: count.targets[label.name].mean for name, count in counts.items() if label.name in count.targets
            }
            for label in store.config.labels
            if label.kind == "regression"
        },
        "events": {name: sum(segment.events[name] for segment in segments) for name in newest.events},
        "users": newest.num_users,
        "items": max(total("catalog_rows") - 1, 0),  # without the row of unknown items
        "quarantined": newest.quarantined,
        "rows_without_item": total("rows_without_item"),
        "events_without_item": total("events_without_item"),
        "rows_without_profile": total("rows_without_profile"),
        "rows_too_new": total("rows_too_new"),
        "drawn_per_request": drawn,
        "bytes": sum(file.bytes for segment in segments for file in segment.files.values()),
    }
