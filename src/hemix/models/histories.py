"""Which histories a model reads: names from its configuration against what the data has."""

from collections.abc import Mapping, Sequence

from hemix.batch import HistorySpec, Inputs
from hemix.errors import ConfigError, suggestion
from hemix.models.backbone import AttentionMap
from hemix.nn.fields import Fields, State
from hemix.nn.ragged import Ragged
from hemix.nn.target_attention import TargetAttention


def find_history(inputs: Inputs, name: str, key: str) -> HistorySpec:
    """The history `name`, which the configuration key `key` asks for. Raises ConfigError if the data has none."""
    known = {history.name: history for history in inputs.histories}
    if name not in known:
        have = f"the data has {', '.join(sorted(known))}" if known else "the data has no histories"
        raise ConfigError(
            f"{key} must name a history of the data, got {name!r}; {have}.{suggestion(name, known)} "
            f"Declare it under data.histories or change {key}."
        )
    return known[name]


def named_histories(inputs: Inputs, names: tuple[str, ...] | None) -> tuple[HistorySpec, ...]:
    """The histories that `model.histories` asks for; None asks for all. Raises ConfigError if one is not there."""
    if names is None:
        return inputs.histories
    return tuple(find_history(inputs, name, "model.histories") for name in dict.fromkeys(names))


def comparable_histories(inputs: Inputs, names: tuple[str, ...] | None) -> tuple[HistorySpec, ...]:
    """The same for target attention: each must share a field with the candidate. Raises ConfigError if not."""
    found = named_histories(inputs, names)
    for history in found:
        if not history.shared:
            raise ConfigError(
                f"Target attention compares fields that event and candidate share; history {history.name!r} shares "
                f"none. Add item_features to data.histories.{history.name}, or leave it out of model.histories."
            )
    return found


def oldest_first(histories: Sequence[HistorySpec]) -> tuple[HistorySpec, ...]:
    """For models of one sequence: the older side of a cut, then the recent one, then histories that are not cut."""
    order = ("older", "recent", "all")
    return tuple(sorted(histories, key=lambda history: order.index(history.part)))


def prefixed(name: str, encoded: State) -> State:
    """Keys of an encoded history, put under the history's name."""
    return {f"{name}.{key}": value for key, value in encoded.items()}


def under(name: str, state: State) -> State:
    """What `prefixed` put under the history's name."""
    start = f"{name}."
    return {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}


def target_maps(
    attention: Mapping[str, TargetAttention], state: State, candidate: Fields, ragged: Ragged
) -> list[AttentionMap]:
    """What target attention over some histories looks at: one query, the candidate itself."""
    return [target_map(name, unit, under(name, state), candidate, ragged) for name, unit in attention.items()]


def target_map(history: str, unit: TargetAttention, encoded: State, candidate: Fields, ragged: Ragged) -> AttentionMap:
    """The same of one history, from what its unit encoded."""
    return AttentionMap(
        history=history,
        kind="target",
        weights=unit.weights(candidate, encoded, ragged)[:, None, None],
        adds_to_one=unit.softmax,
        answers=unit(candidate, encoded, ragged)[:, None],
    )
