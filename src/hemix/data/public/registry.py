"""The public data sets that are known by name, with their licences, citations and checksums."""

from collections.abc import Callable
from pathlib import Path

from hemix.data.public.avazu import convert_avazu
from hemix.data.public.bars import AMAZON_ELECTRONICS, KUAIVIDEO, TAOBAO_AD
from hemix.data.public.criteo import convert_criteo
from hemix.data.public.dataset import Dataset, Digest, RemoteFile, Source
from hemix.data.public.foursquare import convert_nyc, convert_tky
from hemix.data.public.frappe import convert_log, convert_split
from hemix.data.public.kuairand import LOGS, convert_kuairand
from hemix.data.public.movielens import convert_1m, convert_100k, convert_100k_atomic

GROUPLENS_LICENCE = (
    "MovieLens (GroupLens, University of Minnesota): for research use. No endorsement may be implied, publications "
    "must cite the paper below, the data may not be redistributed without separate permission, and any commercial or "
    "revenue-bearing use needs the permission of GroupLens."
)
GROUPLENS_CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. https://doi.org/10.1145/2827872"
)

FRAPPE_LICENCE = (
    "Frappe: for research use. Publications must cite the paper below, the data may not be redistributed without "
    "separate permission, nobody may try to deanonymise it, and any commercial or revenue-bearing use needs permission "
    "first."
)
FRAPPE_CITATION = (
    "Linas Baltrunas, Karen Church, Alexandros Karatzoglou, Nuria Oliver. 2015. Frappe: Understanding the Usage and "
    "Perception of Mobile App Recommendations In-The-Wild. arXiv:1505.03014."
)
FOURSQUARE_LICENCE = (
    "Foursquare check-ins (TSMC2014): published for research without an open licence; cite the paper below in "
    "publications based on it. Ask its authors before any other use."
)
FOURSQUARE_CITATION = (
    "Dingqi Yang, Daqing Zhang, Vincent W. Zheng, Zhiyong Yu. 2015. Modeling User Activity Preference by Leveraging "
    "User Spatial Temporal Characteristics in LBSNs. IEEE Transactions on Systems, Man, and Cybernetics: Systems "
    "45(1), 129-142."
)


def _sha256(value: str, origin: str) -> tuple[Digest, ...]:
    return (Digest(algorithm="sha256", value=value, origin=origin),)


def _grouplens(archive: str, md5: str, sha256: str) -> RemoteFile:
    url = f"https://files.grouplens.org/datasets/movielens/{archive}"
    published = Digest(algorithm="md5", value=md5, origin=f"published at {url}.md5")
    return RemoteFile(name=archive, urls=(url,), digests=(published, *_sha256(sha256, "of the file with that md5")))


MOVIELENS_100K = Dataset(
    name="movielens-100k",
    title="MovieLens-100K: 100,000 ratings of 1,682 movies by 943 users, 1997-1998",
    rows={"ratings": 100_000, "users": 943, "movies": 1_682},
    tables=("ratings", "users", "movies"),
    licence=GROUPLENS_LICENCE,
    citation=GROUPLENS_CITATION,
    homepage="https://grouplens.org/datasets/movielens/100k/",
    sources=(
        Source(
            name="GroupLens",
            files=(
                _grouplens(
                    "ml-100k.zip",
                    "0e33842e24a9c977be4e0107933c0723",
                    "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
                ),
            ),
            members={"ml-100k/u.data": (), "ml-100k/u.user": (), "ml-100k/u.item": ()},
            convert=convert_100k,
        ),
        Source(
            name="the package recbole 1.2.1, which carries the data as RecBole atomic files",
            files=(
                RemoteFile(
                    name="recbole-1.2.1-py3-none-any.whl",
                    requirement="recbole==1.2.1",
                    digests=_sha256(
                        "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407", "of the released wheel"
                    ),
                ),
            ),
            members={
                "recbole/dataset_example/ml-100k/ml-100k.inter": _sha256(
                    "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff", "of recbole 1.2.1"
                ),
                "recbole/dataset_example/ml-100k/ml-100k.user": _sha256(
                    "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972", "of recbole 1.2.1"
                ),
                "recbole/dataset_example/ml-100k/ml-100k.item": _sha256(
                    "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532", "of recbole 1.2.1"
                ),
            },
            convert=convert_100k_atomic,
        ),
    ),
)

MOVIELENS_1M = Dataset(
    name="movielens-1m",
    title="MovieLens-1M: 1,000,209 ratings of 3,883 movies by 6,040 users, 2000-2003",
    rows={"ratings": 1_000_209, "users": 6_040, "movies": 3_883},
    tables=("ratings", "users", "movies"),
    licence=GROUPLENS_LICENCE,
    citation=GROUPLENS_CITATION,
    homepage="https://grouplens.org/datasets/movielens/1m/",
    sources=(
        Source(
            name="GroupLens",
            files=(
                _grouplens(
                    "ml-1m.zip",
                    "c4d9eecfca2ab87c1945afe126590906",
                    "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
                ),
            ),
            members={"ml-1m/ratings.dat": (), "ml-1m/users.dat": (), "ml-1m/movies.dat": ()},
            convert=convert_1m,
        ),
    ),
)

_NFM_COMMIT = "ca2a5d11b929816aa44c6e470e795af144608507"
_NFM = f"https://raw.githubusercontent.com/hexiangnan/neural_factorization_machine/{_NFM_COMMIT}/data/frappe/"


def _libfm(part: str, blob: str) -> RemoteFile:
    name = f"frappe.{part}.libfm"
    digest = Digest(algorithm="git-blob", value=blob, origin=f"the id of this file in git commit {_NFM_COMMIT[:7]}")
    return RemoteFile(name=name, urls=(_NFM + name,), digests=(digest,))


FRAPPE = Dataset(
    name="frappe",
    title="Frappe: app usage in context, 288,609 rows of 10 fields in the published split",
    rows={"train": 202_027, "valid": 57_722, "test": 28_860},
    tables=("train", "valid", "test"),
    licence=FRAPPE_LICENCE,
    citation=f"{FRAPPE_CITATION} The split: Xiangnan He and Tat-Seng Chua. 2017. Neural Factorization Machines for "
    "Sparse Predictive Analytics. SIGIR 2017. https://doi.org/10.1145/3077136.3080777",
    homepage="https://github.com/hexiangnan/neural_factorization_machine",
    sources=(
        Source(
            name="the repository of the NFM paper",
            files=(
                _libfm("train", "176b2aaf1f63dd13d3e66a5c17c8ec8186e91893"),
                _libfm("validation", "50b9c04bcf58dcb46d0b0070d3d6f88b45c9baab"),
                _libfm("test", "d7cdd03f0e2415c97618de617f20bedd50e8fce7"),
            ),
            convert=convert_split,
        ),
    ),
)

FRAPPE_LOG = Dataset(
    name="frappe-log",
    title="Frappe: the original log, 96,203 uses of 4,082 apps by 957 users, with app metadata",
    rows={"log": 96_203, "apps": 4_082},
    tables=("log", "apps"),
    licence=FRAPPE_LICENCE,
    citation=FRAPPE_CITATION,
    homepage="https://www.baltrunas.info/context-aware",
    sources=(
        Source(
            name="the page of Linas Baltrunas, and a copy in the repository of CARSKit",
            files=(
                RemoteFile(
                    name="Mobile_Frappe.zip",
                    urls=(
                        "https://www.baltrunas.info/_files/archives/be17b7_474755a5e9684a749a012516d04fb456.zip"
                        "?dn=Mobile_Frappe.zip",
                        "https://raw.githubusercontent.com/irecsys/CARSKit/0a1789fb0804b067cabd223c4b8fd8b4d2f6e881/"
                        "context-aware_data_sets/Mobile_Frappe.zip",
                    ),
                    digests=_sha256(
                        "4adc616de57170f282397f6e6e30215f97fa7ad1b7f40bd12ef5dceaaf3e9b4e",
                        "of the copy in CARSKit at commit 0a1789f",
                    ),
                ),
            ),
            members={"Mobile_Frappe/frappe/frappe.csv": (), "Mobile_Frappe/frappe/meta.csv": ()},
            convert=convert_log,
        ),
    ),
)


def _foursquare(name: str, city: str, title: str, checkins: int, convert: Callable[[Path, Path], None]) -> Dataset:
    """TSMC2014 publishes no checksum: the row count of its readme is checked, what came is recorded."""
    path = "~zhang_da/pub/dataset_tsmc2014.zip"
    urls = (f"https://www-public.tem-tsp.eu/{path}", f"http://www-public.tem-tsp.eu/{path}")
    archive = RemoteFile(name="dataset_tsmc2014.zip", urls=(*urls, f"http://www-public.imtbs-tsp.eu/{path}"))
    member = f"dataset_tsmc2014/dataset_TSMC2014_{city}.txt"
    return Dataset(
        name=name,
        title=title,
        rows={"checkins": checkins},
        tables=("checkins", "venues"),
        licence=FOURSQUARE_LICENCE,
        citation=FOURSQUARE_CITATION,
        homepage="https://sites.google.com/site/yangdingqi/home/foursquare-dataset",
        sources=(Source(name="Dingqi Yang", files=(archive,), members={member: ()}, convert=convert),),
    )


FOURSQUARE_NYC = _foursquare(
    "foursquare-nyc",
    "NYC",
    "Foursquare TSMC2014: 227,428 check-ins in New York by 1,083 users, 2012-2013",
    227_428,
    convert_nyc,
)
FOURSQUARE_TKY = _foursquare(
    "foursquare-tky",
    "TKY",
    "Foursquare TSMC2014: 573,703 check-ins in Tokyo by 2,293 users, 2012-2013",
    573_703,
    convert_tky,
)


def _kaggle(
    name: str,
    title: str,
    rows: int,
    page: str,
    citation: str,
    sources: dict[str, tuple[str, ...]],
    convert: Callable[[Path, Path], None],
) -> Dataset:
    """Data of a Kaggle challenge: its terms have to be accepted by a person, no checksum is published.

    `sources`: files that are as good as one another, each with what to take out of it.
    """
    return Dataset(
        name=name,
        title=title,
        rows={"examples": rows},
        tables=("examples",),
        licence="The rules of the challenge, which a person has to accept on its page: research, no redistribution.",
        citation=citation,
        homepage=page,
        sources=tuple(
            Source(
                name=f"the challenge, as {file}",
                files=(RemoteFile(name=file, page=page),),
                members=dict.fromkeys(members, ()),
                convert=convert,
            )
            for file, members in sources.items()
        ),
    )


CRITEO = _kaggle(
    "criteo",
    "Criteo: 45,840,617 display ads, clicked or not, of 39 fields (Kaggle 2014)",
    45_840_617,
    "https://www.kaggle.com/c/criteo-display-ad-challenge",
    "Criteo Labs. 2014. Display Advertising Challenge. Kaggle.",
    {"train.txt": (), "dac.tar.gz": ("train.txt",)},
    convert_criteo,
)
AVAZU = _kaggle(
    "avazu",
    "Avazu: 40,428,967 mobile ads of ten days, clicked or not, of 22 fields (Kaggle 2014)",
    40_428_967,
    "https://www.kaggle.com/c/avazu-ctr-prediction",
    "Steve Wang and Will Cukierski. 2014. Click-Through Rate Prediction (Avazu). Kaggle.",
    {"train.gz": (), "train": ()},
    convert_avazu,
)

KUAIRAND_PURE = Dataset(
    name="kuairand-pure",
    title="KuaiRand-Pure: 2,622,668 short videos shown to 27,285 users, some at random, 2022",
    rows={"log": 2_622_668, "users": 27_285},
    tables=("log", "users", "videos"),
    licence="Creative Commons Attribution-ShareAlike 4.0 (CC BY-SA 4.0).",
    citation="Chongming Gao, Shijun Li, Yuan Zhang, Jiawei Chen, Biao Li, Wenqiang Lei, Peng Jiang, Xiangnan He. 2022. "
    "KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos. CIKM 2022. "
    "https://doi.org/10.1145/3511808.3557624",
    homepage="https://kuairand.com",
    sources=(
        Source(
            name="Zenodo",
            files=(
                RemoteFile(
                    name="KuaiRand-Pure.tar.gz",
                    urls=("https://zenodo.org/records/10439422/files/KuaiRand-Pure.tar.gz",),
                    digests=(
                        Digest(
                            algorithm="md5",
                            value="0820331067a3784d9691136f772b35a7",
                            origin="published at https://zenodo.org/records/10439422",
                        ),
                    ),
                ),
            ),
            members={
                f"KuaiRand-Pure/data/{name}": ()
                for name in (*LOGS, "user_features_pure.csv", "video_features_basic_pure.csv")
            },
            convert=convert_kuairand,
        ),
    ),
)

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        MOVIELENS_100K,
        MOVIELENS_1M,
        FRAPPE,
        FRAPPE_LOG,
        FOURSQUARE_NYC,
        FOURSQUARE_TKY,
        CRITEO,
        AVAZU,
        KUAIRAND_PURE,
        AMAZON_ELECTRONICS,
        TAOBAO_AD,
        KUAIVIDEO,
    )
}
"""Every public data set that `hemix data get` knows."""
