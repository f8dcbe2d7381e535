"""What do longer histories tell without any model? The candidate's place and category among the last L events.

AUC for clicks of the share of a user's L latest events that are of the candidate's own place, category or group of
categories, over the last tenth of a city's impressions. Events of the last 12 hours are left out: they are the other
history of `studies/city-lengths.yaml`.

Usage: length_counts.py CITY
CITY is the folder that `hemix world` wrote.
"""

import argparse
from pathlib import Path

import duckdb
from sklearn.metrics import roc_auc_score

LENGTHS = (10, 30, 100, 300, 1000)
SAME = {"place": "poi", "category": "category", "group": "category_group"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("city", type=Path)
    city = parser.parse_args().city
    counts = ", ".join(
        f"count(*) FILTER (age <= {length} AND theirs.{column} = own.{column}) AS {name}_{length}"
        for length in LENGTHS
        for name, column in SAME.items()
    )
    found = duckdb.execute(
        f"""
        WITH own AS (
            SELECT impression, shown.user, epoch_us(time) AS moment, click, pois.*
            FROM read_parquet($impressions) AS shown JOIN read_parquet($pois) AS pois USING (poi)
        ),
        last AS (SELECT * FROM own WHERE moment >= (SELECT quantile_disc(moment, 0.9) FROM own)),
        events AS (
            SELECT logged.user, epoch_us(time) AS moment, pois.*
            FROM read_parquet($events) AS logged JOIN read_parquet($pois) AS pois USING (poi)
        ),
        pairs AS (
            SELECT own, theirs, row_number() OVER (PARTITION BY own.impression ORDER BY theirs.moment DESC) AS age
            FROM last AS own JOIN events AS theirs
            ON theirs.user = own.user AND theirs.moment < own.moment - 12 * 3_600_000_000
        )
        SELECT any_value(own.click) AS click, {counts} FROM pairs GROUP BY own.impression
        """,
        {table: str(city / f"{table}.parquet") for table in ("impressions", "pois", "events")},
    ).fetchnumpy()
    print(f"| events | {' | '.join(SAME)} |\n| ---: |{' ---: |' * len(SAME)}")
    for length in LENGTHS:
        values = [f"{roc_auc_score(found['click'], found[f'{name}_{length}']):.3f}" for name in SAME]
        print(f"| {length:,} | {' | '.join(values)} |")


if __name__ == "__main__":
    main()
