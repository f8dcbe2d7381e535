"""Taobao experiment: is this display ad clicked?

Features, histories and rows are those of TaobaoAd_x1 in BARS: ads shown to users with a profile, values of fewer than
10 rows folded into one, the last 50 behaviours before the ad. They are made from the files of Tianchi, which tell when
each of them was; 13 May tests, 12 May validates.

A behaviour names no ad, only category and brand. So each pair of these is an item beside the ads, and an event shares
the two fields with the ad that is scored.
"""

from hemix.config import parse_config
from hemix.data.public.taobao import PROFILE
from hemix.experiment import Experiment
from hemix.recipes.held_out import BY_TABLE, split_tables
from hemix.recipes.sizes import ModelName, one_history, small_model

LAST_DAY_OF_TRAINING = "time_stamp >= 1494518400"
"""12 May 2017, 00:00 in China."""
ITEMS = """
SELECT 'ad ' || adgroup_id AS item, adgroup_id, cate_id, brand, campaign_id, customer, price FROM ads
UNION ALL
SELECT 'of ' || cate || ' ' || brand, NULL, cate, brand, NULL, NULL, NULL
FROM (SELECT DISTINCT cate, brand FROM behaviors)
ORDER BY item
"""
TIME = {"column": "time_stamp", "unit": "s"}
BEHAVIORS = {"events": "behaviors", "cut": "last_k", "k": 20, "item_features": ["cate_id", "brand"]}


def taobao_ad(model: ModelName = "interformer", *, validate_on_test: bool = False) -> Experiment:
    """The published test day; the last 50 behaviours, of which the last 20 are the real-time history."""
    splits = split_tables("rows", LAST_DAY_OF_TRAINING, validate_on_test=validate_on_test)
    values = {
        "name": f"taobao-ad-{model}",
        "data": {
            "tables": {
                **{name: {"path": f"{name}.parquet"} for name in ("samples", "ads", "users", "behaviors")},
                "rows": {"sql": "SELECT *, 'ad ' || adgroup_id AS item FROM samples WHERE has_profile"},
                "items": {"sql": ITEMS},
                "log": {"sql": "SELECT *, 'of ' || cate || ' ' || brand AS item FROM behaviors"},
                **splits,
            },
            "examples": {"table": BY_TABLE, "user": "user", "item": "item", "time": TIME, "request": "pid"},
            "labels": [{"name": "click", "column": "clk"}],
            "profiles": {"table": "users", "key": "userid"},
            "catalog": {"table": "items", "key": "item"},
            "features": {
                "request": [
                    {"kind": "categorical", "column": "user", "min_count": 10},
                    *({"kind": "categorical", "column": name} for name in (*PROFILE, "pid")),
                ],
                "candidate": [
                    *(
                        {"kind": "categorical", "column": name, "source": "catalog", "min_count": 10}
                        for name in ("adgroup_id", "cate_id", "brand", "campaign_id", "customer")
                    ),
                    {"kind": "numeric", "column": "price", "transform": "log"},
                ],
            },
            "events": {
                "behaviors": {
                    "table": "log",
                    "user": "user",
                    "item": "item",
                    "time": TIME,
                    "features": [{"kind": "categorical", "column": "btag"}],
                }
            },
            "histories": {
                "global": {**BEHAVIORS, "part": "older", "max_length": 30},
                "real_time": {**BEHAVIORS, "part": "recent", "max_length": 20},
            },
            "timezone": "Asia/Shanghai",
            "split": {"by": "given"},
        },
        "model": small_model(model) | one_history(model),
        "train": {"batch_size": 4096, "epochs": 1, "table_lr": 0.05},
    }
    return parse_config(Experiment, values, "recipe taobao_ad")
