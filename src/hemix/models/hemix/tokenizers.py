"""From the fields of request and candidate to the tokens of HeMix: three ways.

auto_split_mlp     LN_m((W2 relu(W1 e + b1) + b2)_m)        interact, then split; nn/tokenizers.py
per_token_linear   silu(LN_m(W_m e + b_m))                  split only: one linear map per token
semantic_group     LN_m(W_m e_m + b_m)                      e_m: the fields of group m alone; nn/tokenizers.py
"""

from jaxtyping import Float
from torch import Tensor, nn

from hemix.models.hemix.config import HeMixConfig
from hemix.nn.cost import Cost
from hemix.nn.fields import Fields, Layout
from hemix.nn.mlp import SplitLinear
from hemix.nn.norm import PerTokenLayerNorm
from hemix.nn.tokenizers import AutoSplitTokenizer, GroupTokenizer, feature_groups, start_without_bias


class PerTokenTokenizer(nn.Module):
    """One linear map of all fields per token: the tokenizer of a public implementation (UniRank)."""

    def __init__(self, request: Layout, candidate: Layout, num_tokens: int, config: HeMixConfig) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.maps = SplitLinear(request.width, candidate.width, num_tokens * config.token_dim)
        self.norm = PerTokenLayerNorm(num_tokens, config.token_dim)
        start_without_bias(self.maps.linear)

    def encode(self, request: Fields) -> Float[Tensor, "R I"]:
        """The request's part of all tokens."""
        return self.maps.request(request.values)

    def forward(self, candidate: Fields, of_request: Float[Tensor, "N I"]) -> Float[Tensor, "N M D"]:
        mapped = self.maps.candidate(candidate.values, of_request)
        return nn.functional.silu(self.norm(mapped.unflatten(1, (self.num_tokens, -1))))

    def cost(self) -> Cost:
        return self.maps.cost()


Tokenizer = AutoSplitTokenizer | PerTokenTokenizer | GroupTokenizer


def build_tokenizer(config: HeMixConfig, request: Layout, candidate: Layout, num_tokens: int) -> Tokenizer:
    """A tokenizer of these fields. Raises ConfigError for groups that do not fit them."""
    match config.tokenizer:
        case "auto_split_mlp":
            return AutoSplitTokenizer(request, candidate, num_tokens, config.token_dim, config.tokenizer_hidden)
        case "per_token_linear":
            return PerTokenTokenizer(request, candidate, num_tokens, config)
        case "semantic_group":
            groups = feature_groups(config.token_groups, config.feature_tokens, request, candidate)
            return GroupTokenizer(request, candidate, groups, config.token_dim)
