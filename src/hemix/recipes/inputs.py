"""The encoded shape of MovieLens-100K, so that models can be counted without preparing any data."""

from hemix.batch import FieldSpec, HistorySpec, Inputs, TableSpec, TaskSpec

TABLES = {
    "user_id": 946,
    "movie_id": 1614,
    "genres": 22,
    "year": 11,
    "gender": 5,
    "age": 13,
    "occupation": 24,
    "events.ratings.rating": 8,
    "global.gap": 43,
    "real_time.gap": 43,
}


def movielens_100k_inputs() -> Inputs:
    """What `prepare` makes of the recipe `movielens_100k`: fields, histories and sizes of tables."""
    request = tuple(
        FieldSpec(name=name, kind="id", start=start, table=name)
        for start, name in enumerate(("user_id", "gender", "age", "occupation"))
    )
    item = (
        FieldSpec(name="movie_id", kind="id", start=0, table="movie_id"),
        FieldSpec(name="genres", kind="ids", start=1, width=6, table="genres"),
        FieldSpec(name="year", kind="id", start=7, table="year"),
    )
    rating = FieldSpec(name="rating", kind="id", start=8, table="events.ratings.rating")
    histories = []
    for name, length in (("global", 100), ("real_time", 20)):
        part = "older" if name == "global" else "recent"
        gap = FieldSpec(name="time_gap", kind="id", start=9, table=f"{name}.gap")
        shared = tuple(field.name for field in item)
        histories.append(
            HistorySpec(name=name, fields=(*item, rating, gap), shared=shared, max_length=length, part=part)
        )
    return Inputs(
        request=request,
        candidate=item,
        histories=tuple(histories),
        tables=tuple(TableSpec(name=name, num_ids=count) for name, count in TABLES.items()),
        tasks=(TaskSpec(name="like"),),
    )
