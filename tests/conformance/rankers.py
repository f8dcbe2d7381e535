"""The rankers that every model must offer for the conformance tests: small, at least one per entry of `MODELS`."""

import pytest
import torch

from hemix.batch import Inputs
from hemix.models import MODELS, ModelConfig
from hemix.models.afn import AFNConfig
from hemix.models.autoint import AutoIntConfig
from hemix.models.bst import BSTConfig
from hemix.models.dcn import DCNConfig
from hemix.models.dcnv2 import DCNv2Config
from hemix.models.deepfm import DeepFMConfig
from hemix.models.dien import DIENConfig
from hemix.models.din import DINConfig
from hemix.models.dlrm import DLRMConfig
from hemix.models.finalmlp import FinalMLPConfig
from hemix.models.fm import FMConfig
from hemix.models.gdcn import GDCNConfig
from hemix.models.hemix import HeMixConfig
from hemix.models.hiformer import HiFormerConfig
from hemix.models.hstu import HSTUConfig
from hemix.models.interformer import InterFormerConfig
from hemix.models.longer import LONGERConfig
from hemix.models.lr import LRConfig
from hemix.models.masknet import MaskNetConfig
from hemix.models.onetrans import OneTransConfig
from hemix.models.rankmixer import RankMixerConfig
from hemix.models.sim import SIMConfig
from hemix.models.wukong import WukongConfig
from hemix.models.xdeepfm import XDeepFMConfig
from hemix.nn.token_experts import ExpertsConfig
from hemix.nn.towers import MMoEConfig, PLEConfig
from hemix.objectives import LogLossConfig, Objective, SearchConfig, build_objective
from hemix.ranker import Ranker, build_ranker
from hemix.refine.drm import DRMConfig
from hemix.refine.frnet import FRNetConfig
from hemix.refine.gfrl import GFRLConfig

HEMIX = HeMixConfig(
    embedding_dim=8,
    token_dim=16,
    num_attention_heads=2,
    num_mixing_heads=4,
    mixing_rank=8,
    num_blocks=2,
    ffn_expansion=2,
    num_dynamic_global=2,
    num_dynamic_real_time=2,
    num_fixed_global=2,
    num_fixed_real_time=2,
    tower_hidden=(16,),
)
INTERFORMER = InterFormerConfig(
    embedding_dim=8, num_summaries=3, interaction_hidden=(16,), cross_rank=4, hidden=(32,), cross_layers=1
)
LONGER = LONGERConfig(
    embedding_dim=8,
    token_dim=16,
    num_heads=2,
    merge_size=2,
    recent_queries=3,
    num_layers=1,
    ffn_expansion=2,
    hidden=(32, 16),
)
ONETRANS = OneTransConfig(
    embedding_dim=8, num_tokens=4, token_dim=16, num_heads=2, num_blocks=3, ffn_expansion=2, tower_hidden=(16,)
)
BST = BSTConfig(
    embedding_dim=8, token_dim=16, num_heads=2, ffn_expansion=2, concat_length=5, hidden=(32, 16), dropout=0.0
)
RANKMIXER = RankMixerConfig(
    embedding_dim=8, attention_hidden=(16,), num_tokens=6, token_dim=16, ffn_expansion=2, tower_hidden=(16,)
)
HIFORMER = HiFormerConfig(
    embedding_dim=8, attention_hidden=(16,), num_layers=2, rank=12, ffn_expansion=2, tower_hidden=(16,)
)
HSTU = HSTUConfig(embedding_dim=8, token_dim=16, attention_dim=8, linear_dim=8, hidden=(16,), dropout=0.0)
SIM = SIMConfig(
    embedding_dim=8, search="hard", match="category", top_k=4, num_heads=2, attention_dim=8, hidden=(32, 16)
)
CONFIGS: dict[str, ModelConfig] = {
    "hemix": HEMIX,
    "hemix, pre norm": HEMIX.model_copy(update={"num_blocks": 4}),
    "dlrm": DLRMConfig(embedding_dim=8, top_hidden=(32,), bottom_hidden=(16,)),
    "dlrm, attention": DLRMConfig(
        embedding_dim=8, top_hidden=(32,), bottom_hidden=(16,), history_pooling="target_attention"
    ),
    "bst": BST,
    "bst, two blocks": BST.model_copy(
        update={"num_blocks": 2, "pooling": "mean", "concat_length": 20, "position": "none"}
    ),
    "bst, apart": BST.model_copy(update={"num_blocks": 2, "events_see_candidate": False}),
    "din": DINConfig(embedding_dim=8, hidden=(32, 16), attention_hidden=(16,)),
    "dien": DIENConfig(embedding_dim=8, hidden_dim=12, hidden=(32, 16)),
    "dien, aigru": DIENConfig(embedding_dim=8, hidden_dim=12, hidden=(16,), evolution="aigru"),
    "dien, gru": DIENConfig(embedding_dim=8, hidden=(16,), evolution="gru"),
    "hemix, ple": HEMIX.model_copy(update={"num_blocks": 1, "towers": PLEConfig(expert_hidden=(16,))}),
    "hemix, crosses": HEMIX.model_copy(update={"history_crosses": True}),
    "hemix, merged": HEMIX.model_copy(
        update={
            "merge_histories": True,
            "tokenizer": "semantic_group",
            "mixer": "rankmixer",
            "ffn": "per_token_swiglu",
            "pooling": "task_token",
        }
    ),
    "hemix, user only": HEMIX.model_copy(
        update={
            "user_only_dynamic": True,
            "tokenizer": "per_token_linear",
            "mixer": "self_attention",
            "pooling": "flatten",
        }
    ),
    "hemix, no dynamic": HEMIX.model_copy(
        update={
            "num_tokens": 4,
            "num_dynamic_global": 0,
            "num_dynamic_real_time": 0,
            "event_projection": "shared",
            "attention_norm": False,
            "empty_history": "zero",
            "ffn": "shared",
        }
    ),
    "dlrm, mmoe": DLRMConfig(
        embedding_dim=8, top_hidden=(32,), bottom_hidden=(16,), towers=MMoEConfig(expert_hidden=(16,))
    ),
    "longer": LONGER,
    "longer, learnable": LONGER.model_copy(
        update={"query_kind": "learnable", "query_mean": True, "pooling": "mean", "inner_layers": 0}
    ),
    "lr": LRConfig(),
    "fm": FMConfig(embedding_dim=8),
    "deepfm": DeepFMConfig(embedding_dim=8, hidden=(32, 16), dropout=0.0),
    "dcn": DCNConfig(embedding_dim=8, hidden=(32, 16), dropout=0.0),
    "dcnv2": DCNv2Config(embedding_dim=8, hidden=(32, 16), dropout=0.0),
    "dcnv2, experts": DCNv2Config(
        embedding_dim=8, hidden=(32, 16), dropout=0.0, structure="stacked", rank=4, num_experts=2, batch_norm=False
    ),
    "gdcn": GDCNConfig(embedding_dim=8, hidden=(32, 16), dropout=0.0),
    "gdcn, cross": GDCNConfig(embedding_dim=8, structure="cross", cross_bias="zeros"),
    "xdeepfm": XDeepFMConfig(embedding_dim=8, cin_sizes=(6, 4), hidden=(32,), dropout=0.0),
    "autoint": AutoIntConfig(embedding_dim=8, num_layers=2, head_dim=8, hidden=()),
    "autoint, deep": AutoIntConfig(embedding_dim=8, num_layers=1, head_dim=8, hidden=(16,), dropout=0.0),
    "afn": AFNConfig(embedding_dim=8, num_logarithmic=5, afn_hidden=(16,), hidden=(16,), dropout=0.0),
    "masknet": MaskNetConfig(embedding_dim=8, num_blocks=2, block_dim=16, hidden=(16,), dropout=0.0),
    "masknet, serial": MaskNetConfig(embedding_dim=8, structure="serial", num_blocks=2, block_dim=16, dropout=0.0),
    "finalmlp": FinalMLPConfig(
        embedding_dim=8,
        first_hidden=(32,),
        second_hidden=(16,),
        first_dropout=0.0,
        second_dropout=0.0,
        gate_hidden=(16,),
        first_gate=("user",),
        second_gate=("item",),
    ),
    "wukong": WukongConfig(
        embedding_dim=8, num_layers=2, num_fm=6, num_linear=6, rank=5, fm_hidden=(16,), hidden=(16,)
    ),
    "onetrans": ONETRANS,
    "onetrans, full": ONETRANS.model_copy(
        update={
            "tokenizer": "group",
            "attention": "full",
            "shared_parameters": True,
            "pyramid": False,
            "position": "recency",
            "separator": False,
            "pooling": "mean",
            "num_blocks": 2,
        }
    ),
    "onetrans, recency": ONETRANS.model_copy(update={"position": "recency"}),
    "deepfm, condensed": DeepFMConfig(
        embedding_dim=8, hidden=(16,), dropout=0.0, table_dims={"item": 3, "category": 5}, align_dim=6
    ),
    "fm, refined": FMConfig(embedding_dim=8, refine=FRNetConfig(attention_dim=4, hidden=(16,), dropout=0.0)),
    "deepfm, refined apart": DeepFMConfig(
        embedding_dim=8, hidden=(32,), dropout=0.0, refine=GFRLConfig(wiring="separate", hidden=(16,), dropout=0.0)
    ),
    "hstu": HSTU,
    "hstu, no bias": HSTU.model_copy(update={"position_bias": False, "time_bias": False, "num_layers": 1}),
    "hstu, refined": HSTU.model_copy(update={"refine": FRNetConfig(hidden=(16,), dropout=0.0)}),
    "interformer": INTERFORMER,
    "interformer, printed": INTERFORMER.model_copy(
        update={"residual": False, "interaction": "dcnv2", "fusion": "merge"}
    ),
    "rankmixer": RANKMIXER,
    "rankmixer, experts": RANKMIXER.model_copy(
        update={
            "history_pooling": "mean",
            "attention_hidden": (64,),
            "tokenizer": "auto_split",
            "norm_position": "pre",
            "experts": ExpertsConfig(num_experts=3),
        }
    ),
    "rankmixer, refined": RANKMIXER.model_copy(update={"num_blocks": 1, "refine": DRMConfig()}),
    "hiformer": HIFORMER,
    "hiformer, mapped": HIFORMER.model_copy(
        update={
            "history_pooling": "mean",
            "attention_hidden": (64,),
            "token_dim": 12,
            "rank": None,
            "norm_position": "post",
        }
    ),
    "hiformer, per token": HIFORMER.model_copy(
        update={"projection": "per_token", "rank": 64, "output_projection": False}
    ),
    "sim": SIM,
    "sim, soft": SIM.model_copy(
        update={"search": "soft", "match": None, "search_dim": 6, "short_term": "din", "hidden": (16,)}
    ),
    "sim, refined": SIM.model_copy(
        update={"searched": ("real_time",), "time_intervals": False, "hidden": (16,), "refine": DRMConfig()}
    ),
    "hemix, refined": HEMIX.model_copy(update={"num_blocks": 1, "refine": FRNetConfig(hidden=(16,), dropout=0.0)}),
    "longer, refined": LONGER.model_copy(update={"refine": DRMConfig()}),
    "din, refined": DINConfig(embedding_dim=8, hidden=(16,), attention_hidden=(16,), refine=DRMConfig()),
}
CONFIGS |= {name: MODELS[name].config() for name in sorted(set(MODELS) - {config.name for config in CONFIGS.values()})}
"""A new model joins with its default settings, until smaller ones stand above."""
FORMS = [pytest.param(name, marks=() if name in MODELS else pytest.mark.slow) for name in CONFIGS]
"""The same names: every model always, its other forms among the slow tests."""


def objective_of(ranker: Ranker) -> Objective:
    """The log loss, or where a model cannot be trained by it alone, what stands for it."""
    soft = isinstance(ranker.config, SIMConfig) and ranker.config.search == "soft"
    return build_objective(SearchConfig() if soft else LogLossConfig(), ranker)


def perturbed_ranker(name: str, inputs: Inputs, *, by: float) -> Ranker:
    """A ranker none of whose parameters is at its start value, but padding, which stays zero."""
    ranker = build_ranker(inputs, CONFIGS[name], seed=1)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in ranker.parameters():
            parameter += by * torch.randn(parameter.shape, generator=random)
        for table in ranker.embedding.tables:
            table[0] = 0.0
    return ranker
