"""Sequence Arch: events of several histories as one sequence, and layers that a summary of the other side guides.

E_t  = [W_1 e_(1,t) + b_1 ; .. ; W_k e_(k,t) + b_k]                    the t-th latest events of k histories
S    = W_c (E * (W_b relu(W_a E + b_a) + b_b)) + b_c                   MaskNet: self-mask, then compression
S   <- S + PFFN(X_sum, LN(S))        S <- S + MHA(LN(S))               rotary positions inside MHA

PFFN(X_sum, s) = sum_j <w_j, s> x_j / sqrt(n_sum)                      `linear`: x_j, tokens of X_sum; w_j, learned
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.models.interformer.config import InterFormerConfig
from hemix.nn.attention import split_heads
from hemix.nn.cost import products
from hemix.nn.fields import Layout
from hemix.nn.rotary import rotate


class Fusion(nn.Module):
    """Several histories as one sequence of d-vectors, real events first, oldest to latest, padding behind."""

    def __init__(self, histories: Mapping[str, Layout], width: int, config: InterFormerConfig) -> None:
        super().__init__()
        self.width, self.aligned = width, config.fusion == "masknet"
        self._maps = {name: nn.Linear(layout.width, width) for name, layout in histories.items()}
        self.maps = nn.ModuleList(self._maps.values())
        total = len(histories) * width
        self.mask, self.compress = None, None
        if self.aligned:
            self.mask = nn.Sequential(nn.Linear(total, total), nn.ReLU(), nn.Linear(total, total))
            self.compress = nn.Linear(total, width)

    def map(self, name: str, events: Float[Tensor, "R T E"]) -> Float[Tensor, "R T d"]:
        return self._maps[name](events)

    def places(self, lengths: list[Int[Tensor, " R"]]) -> tuple[list[Int[Tensor, "R 1"]], Int[Tensor, " R"]]:
        """Where the first event of each history goes, and how long the whole is."""
        if self.aligned:
            whole = torch.stack(lengths).amax(dim=0)
            return [(whole - own)[:, None] for own in lengths], whole
        ends = torch.stack(lengths).cumsum(dim=0)
        return [(end - own)[:, None] for end, own in zip(ends, lengths, strict=True)], ends[-1]

    def forward(self, events: list[Float[Tensor, "R _ d"]], lengths: list[Int[Tensor, " R"]]) -> Float[Tensor, "R T d"]:
        """Of mapped events; the rows behind a request's own length mean nothing."""
        starts, whole = self.places(lengths)
        size = int(whole.max())
        placed = [_place(own, start, length, size) for own, start, length in zip(events, starts, lengths, strict=True)]
        if self.mask is None or self.compress is None:
            return torch.stack(placed).sum(dim=0)
        together = torch.cat(placed, dim=2)
        return self.compress(together * self.mask(together))

    def cost(self, lengths: Mapping[str, int]) -> int:
        maps = sum(lengths[name] * products(part) for name, part in self._maps.items())
        if self.mask is None or self.compress is None:
            return maps
        return maps + max(lengths.values(), default=0) * (products(self.mask) + products(self.compress))

    def length(self, lengths: Mapping[str, int]) -> int:
        """Of the whole, for histories of these lengths."""
        return max(lengths.values(), default=0) if self.aligned else sum(lengths.values())


class PersonalFFN(nn.Module):
    """A map of events that the summary of the other side makes for each row; without a summary, the same for all."""

    no_decay = ("weight",)

    def __init__(self, width: int, config: InterFormerConfig) -> None:
        super().__init__()
        self.width, self.num_summaries = width, config.num_summaries
        self.shared = self.weight = self.network = None
        if not config.guides_events:
            self.shared = nn.Linear(width, width)
        elif config.personal == "linear":
            self.weight = nn.Parameter(torch.empty(config.num_summaries, width))
            nn.init.xavier_uniform_(self.weight)
        else:
            flat = config.num_summaries * width
            self.network = nn.Sequential(nn.Linear(flat, flat), nn.ReLU(), nn.Linear(flat, width * width))

    def forward(self, s: Float[Tensor, "B P d"], x_sum: Float[Tensor, "B k d"] | None) -> Float[Tensor, "B P d"]:
        if self.shared is not None:
            return self.shared(s)
        assert x_sum is not None
        if self.weight is not None:
            return torch.bmm(s @ self.weight.T, x_sum) / self.num_summaries**0.5
        assert self.network is not None
        return torch.bmm(s, self.network(x_sum.flatten(1)).unflatten(1, (self.width, self.width)))

    def cost(self, places: int) -> int:
        if self.shared is not None:
            return places * products(self.shared)
        if self.weight is not None:
            return 2 * places * self.weight.numel()
        assert self.network is not None
        return products(self.network) + places * self.width**2


class RotaryAttention(nn.Module):
    """Multi-head self-attention over the places of a row, with rotary positions."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.width = num_heads, width
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, s: Float[Tensor, "B P d"], present: Bool[Tensor, "B P"]) -> Float[Tensor, "B P d"]:
        query, key = self._turned(s)
        found = F.scaled_dot_product_attention(
            query, key, split_heads(self.value(s), self.num_heads), attn_mask=present[:, None, None]
        )
        return self.output(found.transpose(1, 2).flatten(2))

    def weights(self, s: Float[Tensor, "B P d"], present: Bool[Tensor, "B P"]) -> Float[Tensor, "B P H P"]:
        """How much each place looks at each other."""
        query, key = self._turned(s)
        scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
        return scores.masked_fill(~present[:, None, None], -torch.inf).softmax(dim=3).transpose(1, 2)

    def _turned(self, s: Float[Tensor, "B P d"]) -> list[Float[Tensor, "B H P _"]]:
        return [rotate(split_heads(part(s), self.num_heads)) for part in (self.query, self.key)]

    def cost(self, places: int) -> int:
        return places * products(self) + 2 * places**2 * self.width


class SequenceLayer(nn.Module):
    """PFFN, then MHA; each may be left out, and each may have a pre-norm and a residual."""

    def __init__(self, width: int, config: InterFormerConfig) -> None:
        super().__init__()
        self.residual = config.residual
        self.personal = None if config.personal == "none" else PersonalFFN(width, config)
        self.attention = RotaryAttention(width, config.num_heads) if config.self_attention else None
        normed = [part is not None and config.residual for part in (self.personal, self.attention)]
        self.personal_norm, self.attention_norm = (nn.LayerNorm(width) if own else nn.Identity() for own in normed)

    def forward(
        self, s: Float[Tensor, "B P d"], x_sum: Float[Tensor, "B k d"] | None, present: Bool[Tensor, "B P"]
    ) -> Float[Tensor, "B P d"]:
        s = self._guided(s, x_sum)
        if self.attention is None:
            return s
        return self._added(s, self.attention(self.attention_norm(s), present))

    def weights(
        self, s: Float[Tensor, "B P d"], x_sum: Float[Tensor, "B k d"] | None, present: Bool[Tensor, "B P"]
    ) -> Float[Tensor, "B P H P"]:
        """How much each place looks at each other, with the arguments of `forward`."""
        assert self.attention is not None
        return self.attention.weights(self.attention_norm(self._guided(s, x_sum)), present)

    def _guided(self, s: Float[Tensor, "B P d"], x_sum: Float[Tensor, "B k d"] | None) -> Float[Tensor, "B P d"]:
        """After PFFN."""
        return s if self.personal is None else self._added(s, self.personal(self.personal_norm(s), x_sum))

    def _added(self, s: Tensor, found: Tensor) -> Tensor:
        return s + found if self.residual else found

    def cost(self, places: int) -> int:
        return sum(part.cost(places) for part in (self.personal, self.attention) if part is not None)


def _place(
    events: Float[Tensor, "R T d"], start: Int[Tensor, "R 1"], lengths: Int[Tensor, " R"], size: int
) -> Float[Tensor, "R size d"]:
    """Events to the places from `start` on, zeros elsewhere; padding goes to a place behind the end that is cut off."""
    steps = torch.arange(events.shape[1], device=events.device)
    places = torch.where(steps < lengths[:, None], start + steps, size)
    room = events.new_zeros(len(events), size + 1, events.shape[2])
    return room.scatter(1, places[:, :, None].expand(-1, -1, events.shape[2]), events)[:, :size]
