"""The tokenizer that the settings of HeMix name, of those in nn/tokenizers.py."""

from hemix.models.hemix.config import HeMixConfig
from hemix.nn.fields import Layout
from hemix.nn.tokenizers import AutoSplitTokenizer, GroupTokenizer, PerTokenTokenizer, Tokenizer, feature_groups


def build_tokenizer(config: HeMixConfig, request: Layout, candidate: Layout, num_tokens: int) -> Tokenizer:
    """A tokenizer of these fields. Raises ConfigError for groups that do not fit them."""
    width = config.token_dim
    match config.tokenizer:
        case "auto_split_mlp":
            return AutoSplitTokenizer(request, candidate, num_tokens, width, config.tokenizer_hidden)
        case "per_token_linear":
            return PerTokenTokenizer(request, candidate, num_tokens, width)
        case "semantic_group":
            groups = feature_groups(config.token_groups, config.feature_tokens, request, candidate)
            return GroupTokenizer(request, candidate, groups, width)
