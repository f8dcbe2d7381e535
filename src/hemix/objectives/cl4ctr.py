"""CL4CTR: contrastive learning beside the log loss (WSDM 2023, https://arxiv.org/abs/2212.00522).

total = log loss + alpha L_cl + beta (L_a + L_u)

L_cl = mean_n |P_1 vec(Enc(E_n * M_1)) - P_2 vec(Enc(E_n * M_2))|^2     E_n (F, D): vectors of row n; M: random masks
L_a  = mean over pairs of values of a field of |e_i - e_j|^2            feature alignment
L_u  = mean over pairs of values of different fields of cos(e_i, e_j)   field uniformity

Only the embeddings are shared with the model; encoder Enc and projections P belong to the objective and are never
exported. L_a and L_u are means over the rows of the batch (`scope: batch`: pairs of rows, fields of one row) or over
all values of the tables (`scope: table`: the paper's). Both are linear in rows or values: sums over pairs are not
formed.

    sum_(i, j) |e_i - e_j|^2 = 2 n sum_i |e_i|^2 - 2 |sum_i e_i|^2
    sum over pairs of different fields of u_i . u_j = |sum of all u|^2 - sum over fields of |sum of its u|^2

Deviations: docs/models/cl4ctr.md.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hemix.batch import Batch, FieldSpec
from hemix.config import Config
from hemix.errors import ConfigError
from hemix.nn.dropout import FastDropout
from hemix.nn.embedding import FeatureEmbedding
from hemix.nn.fields import Layout, common_width
from hemix.nn.first_order import FirstOrderEmbedding
from hemix.objectives.log_loss import LogLoss, LogLossConfig, TaskWeights
from hemix.objectives.loss import Loss
from hemix.ranker import Ranker

Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
SMALLEST_NORM = 1e-8
ROWS_AT_ONCE = 1024
"""In the encoder: few enough for a layer's numbers to stay in the cache of a core."""


class CL4CTRConfig(Config):
    """Weights of the parts, the masks, and the encoder."""

    name: Literal["cl4ctr"] = "cl4ctr"
    task_weights: TaskWeights = Field(default={})
    """Factor of each task's loss in the total; 1 for a task that is not named. 0: it is not learnt."""
    alpha: Weight = 1.0
    """Of the contrastive loss."""
    beta: Weight = 0.01
    """Of alignment and uniformity."""
    mask: Literal["random", "feature", "dimension"] = "random"
    """What is masked together: nothing, a whole field, or a dimension of all fields."""
    mask_share: Share = 0.5
    """How much is masked, on average."""
    scope: Literal["batch", "table"] = "batch"
    """Alignment and uniformity over the rows of the batch, or over all values of the tables, which gives these dense
    gradients: `table` needs ``train.table_optimizer: adam``."""
    num_layers: Count = 3
    num_heads: Count = 1
    feedforward_dim: Count = 128
    dropout: Share = 0.2
    """In the encoder."""


class CL4CTR(nn.Module):
    """Raises ConfigError for a model or data without vectors of ids of one width, or with a single field of them."""

    added_parts = ("contrastive", "alignment", "uniformity")

    def __init__(self, config: CL4CTRConfig, ranker: Ranker) -> None:
        super().__init__()
        self.config = config
        self.log_loss = LogLoss(LogLossConfig(task_weights=config.task_weights), ranker.inputs)
        embedding = _vectors_of(ranker)
        inputs = ranker.inputs
        self._request, self._candidate = (_of_ids(side) for side in (inputs.request, inputs.candidate))
        self._tables = _tables(inputs.request, inputs.candidate)
        width = _width(
            embedding.layouts.request.select(self._request), embedding.layouts.candidate.select(self._candidate)
        )
        num_fields = len(self._request) + len(self._candidate)
        if width % config.num_heads:
            raise ConfigError(
                f"objective.num_heads must divide the width of a field; it is {config.num_heads}, the width {width}."
            )
        layer = nn.TransformerEncoderLayer(
            width, config.num_heads, config.feedforward_dim, config.dropout, batch_first=True
        )
        layer.dropout, layer.dropout1, layer.dropout2 = (FastDropout(config.dropout) for _ in range(3))
        self.encoder = nn.TransformerEncoder(layer, config.num_layers, enable_nested_tensor=False)
        self.projections = nn.ModuleList([nn.Linear(num_fields * width, width) for _ in range(2)])

    def forward(self, ranker: Ranker, batch: Batch) -> Loss:
        """Raises ConfigError if the batch has no labels."""
        loss = self.log_loss(ranker, batch)
        embedding = _vectors_of(ranker)
        x = self._fields(embedding, batch)
        contrastive = self.contrast(x)
        if self.config.scope == "batch":
            alignment, uniformity = batch_alignment(x), batch_uniformity(x)
        else:
            tables = [embedding.learnt(table) for table in self._tables]
            alignment, uniformity = table_alignment(tables), table_uniformity(tables)
        total = loss.total + self.config.alpha * contrastive + self.config.beta * (alignment + uniformity)
        added = (part.detach() for part in (contrastive, alignment, uniformity))
        return Loss(total=total, parts={**loss.parts, **dict(zip(self.added_parts, added, strict=True))})

    def contrast(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, ""]:
        """Mean squared distance of two masked views of each row."""
        sums = [self._distance(rows) for rows in x.split(ROWS_AT_ONCE)]
        return torch.stack(sums).sum() / len(x)

    def _distance(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, ""]:
        one, other = (projection(self.encoder(x * self.draw_mask(x)).flatten(1)) for projection in self.projections)
        return (one - other).square().sum()

    def draw_mask(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        """Zeros and ones; what is kept is not scaled up."""
        rows, fields, width = x.shape
        shape = {"random": (rows, fields, width), "feature": (rows, fields, 1), "dimension": (rows, 1, width)}
        drawn = torch.rand(shape[self.config.mask], device=x.device, dtype=x.dtype)
        return (drawn >= self.config.mask_share).to(x.dtype).expand_as(x)

    def _fields(self, embedding: FeatureEmbedding, batch: Batch) -> Float[Tensor, "N F D"]:
        """The vectors of all ids of request and candidate, row by row."""
        request = embedding.request(batch.requests.columns).select(self._request).values
        candidate = embedding.candidate(batch.candidates).select(self._candidate)
        each = torch.repeat_interleave(batch.offsets.diff())
        values = torch.cat([request.index_select(0, each), candidate.values], dim=1)
        fields = len(self._request) + len(self._candidate)
        return values.unflatten(1, (fields, -1))


def batch_alignment(x: Float[Tensor, "N F D"]) -> Float[Tensor, ""]:
    """Mean over pairs of rows and over fields of |x_af - x_bf|^2; 0 for a single row."""
    rows, fields, _ = x.shape
    if rows < 2:
        return x.new_zeros(())
    pairs = rows * x.square().sum() - x.sum(dim=0).square().sum()
    return pairs / (rows * (rows - 1) / 2 * fields)


def batch_uniformity(x: Float[Tensor, "N F D"]) -> Float[Tensor, ""]:
    """Mean over rows and over pairs of fields f != g of the cosine of x_f and x_g."""
    units = _units(x)
    pairs = units.sum(dim=1).square().sum() - units.square().sum()
    return pairs / (x.shape[0] * x.shape[1] * (x.shape[1] - 1))


def table_alignment(tables: Sequence[Float[Tensor, "_ D"]]) -> Float[Tensor, ""]:
    """Mean over all ordered pairs of values of one field, a value with itself included, of |e_i - e_j|^2."""
    pairs = torch.stack([2 * len(e) * e.square().sum() - 2 * e.sum(dim=0).square().sum() for e in tables])
    return pairs.sum() / sum(len(e) ** 2 for e in tables)


def table_uniformity(tables: Sequence[Float[Tensor, "_ D"]]) -> Float[Tensor, ""]:
    """Mean over all ordered pairs of values of different fields of their cosine."""
    sums = torch.stack([_units(e).sum(dim=0) for e in tables])
    pairs = sums.sum(dim=0).square().sum() - sums.square().sum()
    values = sum(len(e) for e in tables)
    return pairs / sum(len(e) * (values - len(e)) for e in tables)


def _units(x: Tensor) -> Tensor:
    """Vectors of length one; zero stays zero."""
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp(min=SMALLEST_NORM)


def _of_ids(fields: Sequence[FieldSpec]) -> list[str]:
    return [field.name for field in fields if field.table is not None]


def _tables(*sides: Sequence[FieldSpec]) -> list[str]:
    return list(dict.fromkeys(field.table for side in sides for field in side if field.table is not None))


def _vectors_of(ranker: Ranker) -> FeatureEmbedding:
    embedding = ranker.embedding
    return embedding.vectors if isinstance(embedding, FirstOrderEmbedding) else embedding


def _width(request: Layout, candidate: Layout) -> int:
    """The one width of all fields of ids."""
    names, widths = (*request.names, *candidate.names), (*request.widths, *candidate.widths)
    if len(names) < 2:
        raise ConfigError(
            f"objective 'cl4ctr' compares fields of ids; the data has {len(names)} of request and candidate. Declare "
            "more categorical features, or set objective: {name: log_loss}."
        )
    return common_width(Layout(names=names, widths=widths), "objective 'cl4ctr'")
