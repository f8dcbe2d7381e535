"""The log as Arrow tables: what a service would have, and the truth apart from it."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from hemix.world.choice import CLICK_PARTS, ORDER_PARTS
from hemix.world.city import City
from hemix.world.log import ACTIONS, LogPart
from hemix.world.moments import DAYPARTS, PLACES
from hemix.world.people import People

TIME = pa.timestamp("ms", tz="UTC")
MILLIS = 1000
Columns = Mapping[str, np.ndarray | pa.Array]


def impression_tables(part: LogPart, first_request: int) -> tuple[pa.Table, pa.Table]:
    """What was shown, and the truth about it, row by row the same impressions."""
    rows, width = part.shown.shape
    requests = part.requests

    def repeated(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, width)

    impressions = first_request * width + np.arange(rows * width)
    logged = {
        "impression": impressions,
        "request": repeated(first_request + np.arange(rows)),
        "user": repeated(requests.users),
        "poi": part.shown.ravel(),
        "time": _times(repeated(requests.times)),
        "latitude": repeated(requests.positions[:, 0]),
        "longitude": repeated(requests.positions[:, 1]),
        "daypart": _names(repeated(requests.daypart), DAYPARTS),
        "weekend": repeated(requests.weekend).astype(np.int8),
        "place": _names(repeated(requests.place), PLACES),
        "position": np.tile(np.arange(1, width + 1, dtype=np.int8), rows),
        "click": part.outcomes.click.ravel().astype(np.int8),
        "ordered": part.outcomes.ordered.ravel().astype(np.int8),
        "order_value": part.outcomes.order_value.ravel(),
    }
    truth = part.truth
    figures = {name: truth.parts[name] for name in (*CLICK_PARTS, *ORDER_PARTS)}
    figures |= {
        "p_click": truth.p_click,
        "p_order": truth.p_order,
        "value_if_order": truth.value_if_order,
        "expected_value": truth.expected_value,
    }
    true = {name: values.ravel().astype(np.float32) for name, values in figures.items()}
    return _table(logged), _table({"impression": impressions, **true})


def event_table(part: LogPart) -> pa.Table:
    """What users did, with the context that the service saw it in."""
    events = part.events
    return _table(
        {
            "user": events.users,
            "poi": events.pois,
            "time": _times(events.times),
            "action": _names(events.actions, ACTIONS),
            "daypart": _names(events.daypart, DAYPARTS),
            "weekend": events.weekend.astype(np.int8),
            "place": _names(events.place, PLACES),
        }
    )


def user_tables(people: People) -> tuple[pa.Table, pa.Table]:
    """What the service knows of users, and what they are like."""
    known = {
        "user": people.ids,
        "home_latitude": people.homes[:, 0],
        "home_longitude": people.homes[:, 1],
        "work_latitude": people.works[:, 0],
        "work_longitude": people.works[:, 1],
        "home_district": people.home_districts,
        "work_district": people.work_districts,
        "spend_level": people.spend_levels,
        "age_band": people.age_bands,
    }
    tastes = ("interests", "daypart_tastes", "weekend_tastes", "place_tastes")
    latent = {name: _lists(getattr(people, name).reshape(len(people.ids), -1)) for name in tastes}
    return _table(known), _table({"user": people.ids, "activity": people.activity, "budget": people.budgets, **latent})


def poi_tables(city: City) -> tuple[pa.Table, pa.Table]:
    """The catalog, and what POIs are like."""
    ids = np.arange(city.num_pois)
    known = {
        "poi": ids,
        "category": city.categories,
        "category_group": city.category_groups[city.categories],
        "district": city.districts,
        "price": city.prices,
        "visits_last_year": np.round(1000 * np.exp(city.popularity.astype(np.float64))).astype(np.int64),
        "latitude": city.places[:, 0],
        "longitude": city.places[:, 1],
    }
    latent = {"log_price": city.log_prices, "popularity": city.popularity, "taste": _lists(city.tastes.T)}
    return _table(known), _table({"poi": ids, **latent})


def _table(columns: Columns) -> pa.Table:
    return pa.table(dict(columns))


def _times(seconds: np.ndarray) -> pa.Array:
    return pa.array(seconds * MILLIS, pa.int64()).cast(TIME)


def _names(codes: np.ndarray, names: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(names))


def _lists(values: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
