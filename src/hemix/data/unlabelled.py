"""Raw rows to be scored: encoded by a store's encoder, with the histories that the store holds."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from hemix.data.encode import Encoder
from hemix.data.fields import make_plan
from hemix.data.keys import known_tables
from hemix.data.manifest import Segment
from hemix.data.prepare import SegmentBuilder, disk_error
from hemix.data.queries import Preparing, example_tables
from hemix.data.rules import check_tables
from hemix.data.segment import write_examples
from hemix.data.sources import ROW, Sources, connect, literal
from hemix.data.store import SplitView, Store
from hemix.errors import InputError
from hemix.schema import DataConfig, Table

INPUT = "rows_to_score"


@dataclass(frozen=True, slots=True)
class RowsToScore:
    """Encoded rows, and the raw table that they came from."""

    view: SplitView
    sources: Sources

    def write(self, scores: dict[str, np.ndarray], out: Path) -> None:
        """Write the raw table with one more column per entry of `scores` (in the order of `view`), in its own order.

        The format follows the ending of `out`: .parquet, .csv or .jsonl. Raises InputError for another one.
        """
        options = {".parquet": "FORMAT parquet", ".csv": "FORMAT csv, HEADER", ".jsonl": "FORMAT json"}
        if out.suffix not in options:
            raise InputError(f"The output must end in {', '.join(options)}, got {out.name}.")
        taken = [name for name in scores if name in self.sources.columns(INPUT)]
        if taken:
            raise InputError(
                f"The input already has a column {taken[0]!r}, which the scores would be written to; rename it."
            )
        origins = self.view.origins(np.arange(self.view.num_requests))
        table = pa.table({"_hemix_origin": origins, **scores})
        connection = self.sources.connection
        connection.register("scores", table)
        partial = out.with_name(f".{out.name}.partial")
        hidden = ", ".join(self.sources.hidden(INPUT))
        connection.execute(
            f"COPY (SELECT t.* EXCLUDE ({hidden}), s.* EXCLUDE (_hemix_origin) FROM _hemix_raw_{INPUT} AS t "
            f"JOIN scores AS s ON t.{ROW} = s._hemix_origin ORDER BY t.{ROW}) "
            f"TO {literal(partial)} ({options[out.suffix]})"
        )
        partial.replace(out)


@contextmanager
def rows_to_score(store: Store, table: Table, root: Path, *, memory_limit: str = "1GB") -> Iterator[RowsToScore]:
    """Encode the rows of `table`, which has the columns of the examples but need not have labels.

    New users have no history; values and items that the store does not know get the unknown id. Raises InputError for
    a missing column or a bad row.
    """
    config = _for_scoring(store.config, table)
    folder = Path(tempfile.mkdtemp(prefix="hemix-"))
    staging = folder / "staging"
    staging.mkdir()
    try:
        with connect(staging, memory_limit=memory_limit, threads=None, timezone=config.timezone) as connection:
            known = store.manifest.raw_columns
            like = {INPUT: known[next(iter(example_tables(store.config).values()))]}
            sources = Sources(connection, config.tables, root, staging, known=known, like=like)
            p = Preparing(connection=connection, config=config, sources=sources, labelled=False)
            plan = make_plan(config, sources, [INPUT], labelled=False)
            check_tables(p, plan, "error")
            known_tables(p, plan, store.path, store.manifest)
            with closing(SegmentBuilder(p, plan, folder, staging)) as build:
                build.stage()
                segment = _write(build, store.encoder, folder)
            yield RowsToScore(view=SplitView(store, INPUT, [(segment, "train")], serving=True), sources=sources)
    except (OSError, duckdb.Error) as error:
        raise disk_error(error, folder) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _for_scoring(config: DataConfig, table: Table) -> DataConfig:
    """The same meaning of columns, but read from `table` and without rows left out."""
    values = config.model_dump(mode="json")
    values["tables"] = {**values["tables"], INPUT: table.model_dump(mode="json")}
    values["examples"] |= {"table": INPUT, "where": None}
    values["split"], values["negatives"] = {"by": "random"}, None
    return DataConfig.model_validate(values).model_copy(update={"tables": {INPUT: table}})


def _write(build: SegmentBuilder, encoder: Encoder, folder: Path) -> Segment:
    splits = write_examples(build.files, build.rows, build.stagers["request"], build.stagers["row"], encoder)
    return Segment(
        folder=str(folder),
        splits=splits,
        events={},
        catalog_rows=0,
        profile_rows=0,
        num_users=0,
        files=build.files.entries,
    )
