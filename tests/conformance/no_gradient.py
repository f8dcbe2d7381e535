"""The parameters that no gradient reaches, by the name in `CONFIGS`: expressions for what follows ``backbone.``."""

# moves all scores of a softmax alike: the last bias of an activation unit, the biases of keys
UNIT = r"attention\.[01]\.rest\.2\.bias"
LONGER_KEYS = r"(merging\.inner\.0|blocks\.[01])\.key\.bias"
DRM_KEY = r"refine\.refiners\.0\.key\.bias"
FRNET_KEYS = r"refine\.refiners\.0\.(complement|weigh)\.key\.bias"
# batch norm takes it off again: the bias in front of it
DEEP = r"model\.deep\.[04]\.bias"
FRNET_CODES = r"refine\.refiners\.0\.(complement|weigh)\.code\.0\.bias"
GFRL_CODES = r"refine\.refiners\.[01]\.(refine|gate)\.deep\.0\.bias"
# residual: false: what is left of an event gets smaller by the layer, and more so its share in the attention
PRINTED = (
    r"sequence_summaries\.[12]\.(pooling\.(queries|query\.weight|key\.weight)|gate\.map\.weight)",
    r"sequences\.[01]\.attention\.(query|key)\.weight",
)

WITHOUT_GRADIENT: dict[str, tuple[str, ...]] = {
    "dlrm, attention": (UNIT,),
    "rankmixer": (UNIT,),
    "rankmixer, refined": (DRM_KEY, rf"model\.{UNIT}"),
    "hiformer": (UNIT,),
    "hiformer, per token": (UNIT,),
    "longer": (LONGER_KEYS,),
    "longer, learnable": (LONGER_KEYS,),
    "longer, refined": (DRM_KEY, rf"model\.{LONGER_KEYS}"),
    "din, refined": (DRM_KEY,),
    "sim, refined": (DRM_KEY,),
    "fm, refined": (FRNET_KEYS, FRNET_CODES),
    "hstu, refined": (FRNET_KEYS, FRNET_CODES),
    "hemix, refined": (FRNET_KEYS, FRNET_CODES),
    "deepfm": (DEEP,),
    "deepfm, condensed": (DEEP,),
    "deepfm, refined apart": (GFRL_CODES, DEEP),
    "dcn": (DEEP,),
    "dcnv2": (DEEP,),
    "gdcn": (DEEP,),
    "xdeepfm": (DEEP,),
    "autoint, deep": (DEEP,),
    "afn": (r"model\.crossed\.0\.bias", r"model\.deep\.0\.0\.bias"),
    "finalmlp": (r"model\.(first|second)\.deep\.0\.bias",),
    "interformer, printed": PRINTED,
}
