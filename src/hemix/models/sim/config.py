"""Settings of SIM, and which of them fit together and to the data."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hemix.batch import FieldSpec, HistorySpec, Inputs
from hemix.config import Config, check_read, is_none
from hemix.errors import ConfigError, suggestion
from hemix.models.histories import comparable_histories, find_history
from hemix.nn.activation import Activation
from hemix.nn.towers import SharedBottomConfig, TowersConfig
from hemix.refine import RefineConfig

Width = Annotated[int, Field(ge=1)]


class SIMConfig(Config):
    """Sizes and switches of SIM. Evidence for each: docs/models/sim.md."""

    name: Literal["sim"] = "sim"
    embedding_dim: Width = 16
    """Width of every embedding whose feature sets no `dim`, and of those of time intervals."""
    histories: tuple[str, ...] | None = None
    """Histories that are read; None: all of the data."""
    searched: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Those of them that are searched; None: all but the recent side of a cut, or all if there is nothing else."""
    search: Literal["soft", "hard"] = "soft"
    """By learnt scores, which need `objective: {name: search}`, or for events of the candidate's value of `match`."""
    match: str | None = None
    """Of `hard`: a categorical feature of candidate and event, such as the category of an item."""
    top_k: Width = 50
    """So many events are found at most."""
    search_dim: Width = 16
    """Of `soft`: width in which events and candidate are compared."""
    num_heads: Width = 4
    attention_dim: Width = 64
    """Width in which all heads together compare what was found with the candidate; a multiple of num_heads."""
    time_intervals: bool = True
    """Put an embedding of the time from an event to the request beside what was found."""
    short_term: Literal["dien", "din"] = "dien"
    """How a history that is not searched is read."""
    hidden: tuple[Width, ...] = Field(default=(200, 80), min_length=1)
    """Widths of the hidden layers over all fields."""
    activation: Activation = "dice"
    towers: TowersConfig = SharedBottomConfig()
    """What stands between the hidden layers and the tasks."""
    tower_hidden: tuple[Width, ...] = ()
    """Widths of the hidden layers of each task's own tower."""
    refine: RefineConfig | None = Field(default=None, exclude_if=is_none)
    """A module that refines the fields of request and candidate; null: none."""

    @model_validator(mode="after")
    def _keys_fit(self) -> "SIMConfig":
        if self.attention_dim % self.num_heads:
            raise ValueError(
                f"attention_dim must be a multiple of num_heads; attention_dim is {self.attention_dim}, num_heads is "
                f"{self.num_heads}: change one of them"
            )
        if self.search == "hard" and self.match is None:
            raise ValueError(
                "search 'hard' compares one feature of candidate and event, and match is not set: name it, or set "
                "search to 'soft'"
            )
        if self.search == "soft" and self.match is not None:
            raise ValueError(
                f"match is of search 'hard', and search is 'soft'; match is {self.match!r}: leave it out, or set "
                "search to 'hard'"
            )
        if self.search == "hard":
            check_read(self, "search", "search_dim")
        return self

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories that the model reads. Raises ConfigError for what the data lacks, or if none is left."""
        found = comparable_histories(inputs, self.histories)
        if not found:
            reason = "the data has none" if self.histories is None else "model.histories is empty"
            raise ConfigError(
                f"model.name 'sim' searches a history, and {reason}. Declare one under data.histories and read it, or "
                "choose a model of a row's fields."
            )
        names = [history.name for history in found]
        for name in self.searched or ():
            if find_history(inputs, name, "model.searched").name not in names:
                raise ConfigError(
                    f"model.searched must name histories that are read, got {name!r}; model.histories are "
                    f"{', '.join(names)}. Add it there, or leave it out of model.searched."
                )
        if self.match is not None:
            for history in self.searched_of(found):
                _check_match(self.match, history, inputs.candidate)
        return found

    def searched_of(self, read: Sequence[HistorySpec]) -> tuple[HistorySpec, ...]:
        """Of the histories that are read, those that are searched."""
        if self.searched is not None:
            return tuple(history for history in read if history.name in self.searched)
        return tuple(history for history in read if history.part != "recent") or tuple(read)


def _check_match(name: str, history: HistorySpec, candidate: Sequence[FieldSpec]) -> None:
    kinds = {field.name: field.kind for field in (*candidate, *history.fields) if field.name in history.shared}
    possible = sorted(field for field, kind in kinds.items() if kind == "id")
    advice = f"Choose one of {', '.join(possible)}" if possible else f"Add one to data.histories.{history.name}"
    if name not in kinds:
        raise ConfigError(
            f"model.match must name a feature that candidate and events share; the events of {history.name!r} share no "
            f"{name!r}.{suggestion(name, possible)} {advice}, or set model.search: soft."
        )
    if kinds[name] != "id":
        raise ConfigError(
            f"model.match must name a categorical feature, one value each; {name!r} of {history.name!r} is of kind "
            f"{kinds[name]!r}. {advice}, or set model.search: soft."
        )
