"""A block of a transformer over the events of a request and one candidate behind them, of which there are many.

    S' = LN(S + Dropout(MH(S)))        MH(S) = [softmax(S Wq_h (S Wk_h)^T / sqrt(d)) S Wv_h of every head h] Wo
    F  = LN(S' + Dropout(LeakyReLU(S' W1 + b1) W2 + b2))

What a row finds among the events of its request is computed once for all candidates, and the candidate added: with the
answer a over the events, and the log m of the sum of its exponentials, one more key of score s and value v gives

    a + sigmoid(s - m) (v - a)         exactly
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.nn.attention import split_heads
from hemix.nn.cost import products
from hemix.nn.dropout import FastDropout


class TransformerBlock(nn.Module):
    """Self-attention without biases, then a feed-forward network; each with a residual, and a norm behind it.

    Keys and values are made of all rows, queries of those whose output is wanted.
    """

    def __init__(self, width: int, num_heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.attention_norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, expansion * width), nn.Linear(expansion * width, width)
        self.ffn_norm = nn.LayerNorm(width)
        self.dropout = FastDropout(dropout)

    def keys_values(self, x: Float[Tensor, "R T D"]) -> tuple[Float[Tensor, "R H T d"], Float[Tensor, "R H T d"]]:
        return split_heads(self.key(x), self.num_heads), split_heads(self.value(x), self.num_heads)

    def queries(self, x: Float[Tensor, "R T D"]) -> Float[Tensor, "R H T d"]:
        return split_heads(self.query(x), self.num_heads)

    def forward(self, x: Float[Tensor, "*some D"], answers: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        """The rows behind the block, from those before it (one may stand for several) and what their heads found."""
        x = self.attention_norm(x + self.dropout(self.output(answers)))
        return self.ffn_norm(x + self.dropout(self.down(F.leaky_relu(self.up(x)))))

    def candidates(
        self,
        x: Float[Tensor, "B C D"],
        own: tuple[Float[Tensor, "B H C d"], Float[Tensor, "B H C d"]],
        keys: Float[Tensor, "B H T d"],
        values: Float[Tensor, "B H T d"],
        attended: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "B C D"]:
        """Rows of candidates, each of which attends to the events of its request and to itself (`own`: key, value)."""
        queries = self.queries(x)
        answers, mass = attend(queries, keys, values, attended)
        scores = (queries * own[0]).sum(dim=3) / keys.shape[3] ** 0.5
        return self(x, side_by_side(with_one_more(answers, mass, scores, own[1])))

    def events(
        self,
        x: Float[Tensor, "B n D"],
        alone: tuple[Float[Tensor, "B H n d"], Float[Tensor, "B H n d"], Float[Tensor, "B H n"]],
        candidate: tuple[Float[Tensor, "B H C d"], Float[Tensor, "B H C d"]],
    ) -> Float[Tensor, "B C n D"]:
        """Rows of events that see one candidate (key, value) each; `alone`: queries, answers, mass among events."""
        queries, answers, mass = alone
        keys, values = candidate
        scores = keys @ queries.transpose(2, 3) / keys.shape[3] ** 0.5
        found = with_one_more(answers[:, :, None], mass[:, :, None], scores, values[:, :, :, None])
        return self(x[:, None], found.permute(0, 2, 3, 1, 4).flatten(3))

    def row_cost(self) -> int:
        """Query, output and feed-forward network of a row; its attention comes on top."""
        return products(self) - self.key_cost()

    def key_cost(self) -> int:
        """Key and value of a row."""
        return products(self.key) + products(self.value)


def attend(
    queries: Float[Tensor, "R H Q d"],
    keys: Float[Tensor, "R H T d"],
    values: Float[Tensor, "R H T d"],
    attended: Bool[Tensor, "R T"],
) -> tuple[Float[Tensor, "R H Q d"], Float[Tensor, "R H Q"]]:
    """Answers over the events, and their mass: the log of the sum of exponentials, which a fused call does not tell.

    Without events the answers are arbitrary, and the mass so small that one more key takes all of the weight.
    """
    scores = queries @ keys.transpose(2, 3) / keys.shape[3] ** 0.5
    scores = scores.masked_fill(~attended[:, None, None], torch.finfo(scores.dtype).min)
    return scores.softmax(dim=3) @ values, scores.logsumexp(dim=3)


def with_one_more(
    answers: Float[Tensor, "*rows d"],
    mass: Float[Tensor, "*row_masses"],
    scores: Float[Tensor, "*pairs"],
    values: Float[Tensor, "*others d"],
) -> Float[Tensor, "*pairs d"]:
    """The answers of `attend` as they are with one more key of these scores."""
    return torch.lerp(answers, values, torch.sigmoid(scores - mass)[..., None])


def side_by_side(heads: Float[Tensor, "R H T d"]) -> Float[Tensor, "R T D"]:
    """The inverse of `split_heads`."""
    return heads.transpose(1, 2).flatten(2)
