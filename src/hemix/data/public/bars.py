"""The three data sets of InterFormer's table, as the BARS benchmark or their owner publishes them."""

from collections.abc import Callable
from pathlib import Path

from hemix.data.public.amazon import convert_amazon
from hemix.data.public.dataset import Dataset, Digest, RemoteFile, Source
from hemix.data.public.kuaivideo import VISUAL, convert_kuaivideo
from hemix.data.public.taobao import FILES, convert_taobao

BARS_CITATION = (
    "Jieming Zhu, Quanyu Dai, Liangcai Su, Rong Ma, Jinyang Liu, Guohao Cai, Xi Xiao, Rui Zhang. 2022. BARS: Towards "
    "Open Benchmarking for Recommender Systems. SIGIR 2022. https://doi.org/10.1145/3477495.3531723"
)


def _bars(
    name: str, md5: dict[str, str], convert: Callable[[Path, Path], None], *beside: RemoteFile
) -> tuple[Source, ...]:
    """A data set of BARS: its files unpacked by hand, or in the archive that BARS links; `beside` are needed too."""
    page = f"https://huggingface.co/datasets/reczoo/{name}"
    digests = {
        file: (Digest(algorithm="md5", value=value, origin=f"published by BARS with {name}"),)
        for file, value in md5.items()
    }
    unpacked = tuple(RemoteFile(name=file, page=page, digests=digests[file]) for file in digests)
    archive = RemoteFile(name=f"{name}.zip", urls=(f"{page}/resolve/main/{name}.zip",))
    return (
        Source(name=f"{name} of BARS, unpacked", files=(*beside, *unpacked), convert=convert),
        Source(name=f"{name} of BARS", files=(*beside, archive), members=digests, convert=convert),
    )


AMAZON_ELECTRONICS = Dataset(
    name="amazon-electronics",
    title="AmazonElectronics_x1: 1,689,188 reviews by 192,403 users, the next one against a random product",
    rows={"examples": 2_993_570, "reviews": 1_689_188, "items": 63_001},
    tables=("examples", "reviews", "items"),
    licence="Amazon review data (J. McAuley, UC San Diego): published for research without an open licence that we "
    "know of; cite the papers below.",
    citation="Ruining He and Julian McAuley. 2016. Ups and Downs: Modeling the Visual Evolution of Fashion Trends with "
    "One-Class Collaborative Filtering. WWW 2016. https://doi.org/10.1145/2872427.2883037 The negatives and the "
    "split: Guorui Zhou and others. 2018. Deep Interest Network for Click-Through Rate Prediction. KDD 2018. "
    f"https://doi.org/10.1145/3219819.3219823 The files: {BARS_CITATION}",
    homepage="https://github.com/reczoo/Datasets/tree/main/Amazon/AmazonElectronics_x1",
    sources=_bars(
        "AmazonElectronics_x1",
        {"train.csv": "e9bf80b92985e463db18fdc753d347b5", "test.csv": "57a20e82fe736dd495f2eaf0669bf6d0"},
        convert_amazon,
    ),
)

KUAIVIDEO = Dataset(
    name="kuaivideo",
    title="KuaiVideo_x1: 13,661,383 short videos shown to 10,000 users, clicked or not, with their pictures as vectors",
    rows={"log": 13_661_383},
    tables=("log", "clicks", "passed", "videos"),
    licence="Data of a challenge of Kuaishou (User Interest Modeling, China MM 2018): no open licence that we know of; "
    "ask its authors before any use but research.",
    citation="Yongqi Li, Meng Liu, Jianhua Yin, Chaoran Cui, Xin-Shun Xu, Liqiang Nie. 2019. Routing Micro-videos via "
    "A Temporal Graph-guided Recommendation System. MM 2019. "
    f"https://github.com/liyongqi67/ALPINE The files: {BARS_CITATION}",
    homepage="https://github.com/reczoo/Datasets/tree/main/KuaiShou/KuaiVideo_x1",
    sources=_bars(
        "KuaiVideo_x1",
        {"train.csv": "16f13734411532cc313caf2180bfcd56", "test.csv": "ba26c01caaf6c65c272af11aa451fc7a"},
        convert_kuaivideo,
        RemoteFile(name=VISUAL, page="https://github.com/liyongqi67/ALPINE"),
    ),
)

TIANCHI = "https://tianchi.aliyun.com/dataset/56"
TAOBAO_AD = Dataset(
    name="taobao-ad",
    title="Taobao ads: 26,557,961 display ads of eight days, clicked or not, and 723,268,134 behaviours before them",
    rows={"samples": 26_557_961, "ads": 846_811, "users": 1_061_768, "behaviors": 723_268_134},
    tables=("samples", "ads", "users", "behaviors"),
    licence="Published by Alibaba for registered users of Tianchi: the terms on its page hold, which a person has to "
    "accept.",
    citation=f"Alibaba. 2018. Ad Display/Click Data on Taobao.com. Tianchi. {TIANCHI}",
    homepage=TIANCHI,
    sources=(
        Source(
            name="Tianchi, unpacked",
            files=tuple(RemoteFile(name=f"{file}.csv", page=TIANCHI) for file in FILES.values()),
            convert=convert_taobao,
        ),
        Source(
            name="Tianchi",
            files=tuple(RemoteFile(name=f"{file}.csv.tar.gz", page=TIANCHI) for file in FILES.values()),
            members={f"{file}.csv": () for file in FILES.values()},
            convert=convert_taobao,
        ),
    ),
)
