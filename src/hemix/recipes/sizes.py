"""Model sizes that the recipes share: small enough for a laptop, equal in what they are given."""

from typing import Any, Literal

ModelName = Literal["hemix", "dlrm", "din"]
EMBEDDING_DIM = 16
SMALL: dict[ModelName, dict[str, Any]] = {
    "hemix": {
        "num_dynamic_global": 2,
        "num_dynamic_real_time": 2,
        "num_fixed_global": 2,
        "num_fixed_real_time": 2,
        "token_dim": 32,
        "num_blocks": 2,
        "mixing_rank": 16,
        "ffn_expansion": 2,
        "tower_hidden": [64, 32],
    },
    "dlrm": {"bottom_hidden": [64], "top_hidden": [256, 128]},
    "din": {"attention_hidden": [64], "hidden": [200, 80]},
}
NO_HISTORIES = {"global_history": None, "real_time_history": None}


def small_model(model: ModelName, *, histories: bool = True) -> dict[str, Any]:
    """The `model` section of a small model; HeMix is told if there are no histories to read."""
    without = NO_HISTORIES if model == "hemix" and not histories else {}
    return {"name": model, "embedding_dim": EMBEDDING_DIM, **SMALL[model], **without}
