"""A setting that nothing reads is refused, with what leaves it unread."""

import pytest

from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models import MODELS

UNREAD = [
    ("dlrm", {}, {"attention_hidden": [32]}, "history_pooling is 'mean'"),
    ("rankmixer", {"history_pooling": "mean"}, {"attention_hidden": [32]}, "history_pooling is 'mean'"),
    ("hiformer", {"history_pooling": "mean"}, {"attention_hidden": [32]}, "history_pooling is 'mean'"),
    ("hiformer", {"projection": "per_token"}, {"rank": 32}, "projection is 'per_token'"),
    ("hiformer", {"projection": "per_token"}, {"rank": None}, "projection is 'per_token'"),
    ("bst", {"pooling": "mean"}, {"concat_length": 30}, "pooling is 'mean'"),
    ("bst", {"pooling": "candidate"}, {"concat_length": 30}, "pooling is 'candidate'"),
    ("sim", {"search": "hard", "match": "category"}, {"search_dim": 8}, "search is 'hard'"),
    ("masknet", {"structure": "serial"}, {"hidden": [100]}, "structure is 'serial'"),
    ("autoint", {}, {"dropout": 0.1}, r"hidden is \[\]"),
    ("autoint", {}, {"batch_norm": False}, r"hidden is \[\]"),
    *(
        (name, {"structure": "cross"}, {key: value}, "structure is 'cross'")
        for name in ("dcn", "dcnv2", "gdcn")
        for key, value in {"hidden": [100], "dropout": 0.1, "batch_norm": False}.items()
    ),
]
KEYS = [f"{name}, {owner.split(' is')[0]}, {', '.join(unread)}" for name, _, unread, owner in UNREAD]


@pytest.mark.parametrize(("name", "settings", "unread", "owner"), UNREAD, ids=KEYS)
def test_a_setting_that_nothing_reads_is_refused(name, settings, unread, owner):
    config = MODELS[name].config
    parse_config(config, {"name": name, **settings}, "model")
    (key,) = unread
    with pytest.raises(ConfigError, match=f"{key} is read by nothing where {owner}.*leave it out"):
        parse_config(config, {"name": name, **settings, **unread}, "model")


@pytest.mark.parametrize(("name", "settings", "unread", "owner"), UNREAD, ids=KEYS)
def test_it_may_be_written_with_its_default(name, settings, unread, owner):
    config = MODELS[name].config
    (key,) = unread
    default = parse_config(config, {"name": name, **settings}, "model")
    written = parse_config(config, {"name": name, **settings, key: config.model_fields[key].default}, "model")
    assert written == default
