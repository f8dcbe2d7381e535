"""FDO: field-level dimension optimisation (CIKM 2023, https://arxiv.org/abs/2311.04635).

From the trained table E (n values x d) of a field, its width is the least k that keeps a share r of what is in it:

    s         = singular values of E less the mean of its rows
    variance  k = 1 + #{ j : (s_1^2 + .. + s_j^2) / sum s^2 <= r }          the released code
    magnitude k = 1 + #{ j : (s_1 + .. + s_j) / sum s <= r }                a literal reading of the paper; keeps more

and at most min(n - 1, d). The model is then trained again with these widths, the trained tables are thrown away. Every
learnt value counts once, however often it occurs; unknown and missing values have no part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hemix.batch import Inputs
from hemix.errors import ConfigError
from hemix.experiment import Experiment
from hemix.models.flat import VectorsConfig
from hemix.nn.first_order import FirstOrderEmbedding
from hemix.ranker import Ranker, count_parameters

Rule = Literal["variance", "magnitude"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CondensedTable:
    """What FDO finds for one table."""

    table: str
    values: int
    width: int
    """As trained."""
    kept: int
    """As it should be."""
    shares: tuple[float, ...]
    """What the first 1, 2, .. dimensions keep, by the rule."""


def condense(ranker: Ranker, ratio: float, rule: Rule = "variance") -> list[CondensedTable]:
    """Widths for all tables of a trained ranker, in the order of its tables.

    Raises ConfigError for a ratio outside (0, 1), and for a model whose tables cannot have widths of their own.
    """
    if not 0 < ratio < 1:
        raise ConfigError(f"The share to keep is between 0 and 1, both excluded; got {ratio:g}.")
    if not isinstance(ranker.config, VectorsConfig):
        raise ConfigError(
            "Tables of their own widths are for flat models with vectors (model.table_dims); "
            f"{ranker.config.name!r} is none. Train one of those that docs/models/flat.md lists."
        )
    embedding = ranker.embedding.vectors if isinstance(ranker.embedding, FirstOrderEmbedding) else ranker.embedding
    found = []
    for table in ranker.inputs.tables:
        learnt = embedding.learnt(table.name).detach()
        shares = cumulative_shares(learnt, rule)
        found.append(
            CondensedTable(
                table=table.name,
                values=len(learnt),
                width=learnt.shape[1],
                kept=kept_dims(shares, len(learnt), ratio),
                shares=tuple(shares),
            )
        )
    return found


def cumulative_shares(table: Float[Tensor, "n d"], rule: Rule) -> list[float]:
    """What the first 1, 2, .., d directions keep of a table; all ones for a table whose rows are equal."""
    values = table.double()
    if not len(values):
        return [1.0] * table.shape[1]
    singular = torch.linalg.svdvals(values - values.mean(dim=0))
    singular = torch.nn.functional.pad(singular, (0, table.shape[1] - len(singular)))
    sizes = singular.square() if rule == "variance" else singular
    total = float(sizes.sum())
    return (sizes.cumsum(0) / total).tolist() if total > 0 else [1.0] * len(sizes)


def kept_dims(shares: Sequence[float], num_values: int, ratio: float) -> int:
    """The least width that keeps more than `ratio`: at least one, at most ``num_values - 1`` and all."""
    least = 1 + sum(share <= ratio for share in shares)
    return max(1, min(least, num_values - 1, len(shares)))


def condensed_experiment(experiment: Experiment, inputs: Inputs, tables: Sequence[CondensedTable]) -> Experiment:
    """The experiment with these widths; fields are aligned to the old width where the model needs one width."""
    model = experiment.model
    assert isinstance(model, VectorsConfig)
    changed: Mapping[str, Any] = {"table_dims": {table.table: table.kept for table in tables}}
    narrow = experiment.model_copy(update={"model": model.model_copy(update=changed)})
    try:
        count_parameters(inputs, narrow.model)
    except ConfigError:
        aligned = model.model_copy(update={**changed, "align_dim": model.align_dim or model.embedding_dim})
        narrow = experiment.model_copy(update={"model": aligned})
        count_parameters(inputs, narrow.model)
    return narrow
