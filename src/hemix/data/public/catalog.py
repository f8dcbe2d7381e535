"""The public data sets that are known by name, with their licences, citations and checksums."""

from hemix.data.public.dataset import Dataset, Digest, RemoteFile, Source
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


def _sha256(value: str, origin: str) -> tuple[Digest, ...]:
    return (Digest(algorithm="sha256", value=value, origin=origin),)


def _grouplens(archive: str, md5: str, sha256: str) -> RemoteFile:
    url = f"https://files.grouplens.org/datasets/movielens/{archive}"
    published = Digest(algorithm="md5", value=md5, origin=f"published at {url}.md5")
    return RemoteFile(name=archive, url=url, digests=(published, *_sha256(sha256, "of the file with that md5")))


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

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (MOVIELENS_100K, MOVIELENS_1M)}
"""Every public data set that `hemix data get` knows."""
