"""Every switch of HeMix as a change to a small configuration, for the tests that must hold for all of them."""

from typing import Any

from hemix.models.hemix import HeMixConfig
from hemix.models.hemix.crosses import CROSSES

SMALL: dict[str, Any] = {
    "embedding_dim": 4,
    "token_dim": 12,
    "num_attention_heads": 3,
    "num_mixing_heads": 2,
    "mixing_rank": 3,
    "ffn_expansion": 2,
    "num_tokens": 5,
    "num_dynamic_global": 2,
    "num_dynamic_real_time": 3,
    "num_fixed_global": 1,
    "num_fixed_real_time": 2,
    "num_blocks": 1,
    "tower_hidden": (5, 4),
}
GROUPS = (
    ("user", "item", "distance"),
    ("hour",),
    ("genres", "category", "hour", "image", "price"),
    ("tags", "user", "age", "profile"),
)
GROUPED = {"tokenizer": "semantic_group", "token_groups": GROUPS, "num_tokens": None}
SWITCHES: dict[str, dict[str, Any]] = {
    "no dynamic queries": {"num_dynamic_global": 0, "num_dynamic_real_time": 0},
    "no fixed queries": {"num_fixed_global": 0, "num_fixed_real_time": 0},
    "no dynamic global": {"num_dynamic_global": 0},
    "no dynamic real-time": {"num_dynamic_real_time": 0},
    "no fixed global": {"num_fixed_global": 0},
    "no fixed real-time": {"num_fixed_real_time": 0},
    "every token asks both": {"num_dynamic_global": 5, "num_dynamic_real_time": 5},
    "merged": {"merge_histories": True},
    "merged, fixed only": {"merge_histories": True, "num_dynamic_global": 0, "num_dynamic_real_time": 0},
    "merged, one map": {"merge_histories": True, "event_projection": "shared"},
    "one map": {"event_projection": "shared"},
    "residual": {"query_residual": True},
    "residual, merged": {"query_residual": True, "merge_histories": True},
    "no norms in the attention": {"attention_norm": False},
    "zeros for no events": {"empty_history": "zero"},
    "user-only queries": {"user_only_dynamic": True},
    "user-only queries, merged": {"user_only_dynamic": True, "merge_histories": True},
    "user-only queries, linear": {"user_only_dynamic": True, "tokenizer": "per_token_linear"},
    "user-only queries, groups": {**GROUPED, "user_only_dynamic": True, "num_dynamic_real_time": 2},
    "crosses": {"history_crosses": True},
    "crosses, merged": {"history_crosses": True, "merge_histories": True},
    "crosses, groups": {**GROUPED, "token_groups": (*GROUPS[:-1], (*GROUPS[-1], CROSSES)), "history_crosses": True},
    "crosses, user-only queries": {"history_crosses": True, "user_only_dynamic": True, "global_history": None},
    "linear tokens": {"tokenizer": "per_token_linear"},
    "groups": GROUPED,
    "rankmixer": {"mixer": "rankmixer"},
    "rankmixer, a width that divides": {"mixer": "rankmixer", "num_tokens": 4},
    "self-attention": {"mixer": "self_attention"},
    "identity": {"mixer": "identity"},
    "shared FFN": {"ffn": "shared"},
    "gated FFN": {"ffn": "per_token_swiglu"},
    "flatten": {"pooling": "flatten"},
    "task tokens": {"pooling": "task_token", "num_blocks": 2},
    "final norm": {"final_norm": True},
    "no final norm": {"final_norm": False, "norm_position": "pre"},
    "pre norm, rankmixer, gated": {"mixer": "rankmixer", "ffn": "per_token_swiglu", "norm_position": "pre"},
    "pre norm, identity": {"mixer": "identity", "norm_position": "pre"},
}


def switched(name: str, base: dict[str, Any] = SMALL) -> HeMixConfig:
    """The small configuration with this switch."""
    return HeMixConfig.model_validate({**base, **SWITCHES[name]})
