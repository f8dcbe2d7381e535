"""Public data by name: official files to tidy Parquet tables, with licence, citation and checksums."""

from hemix.data.public.dataset import Dataset, Progress
from hemix.data.public.get import get_dataset, list_datasets
from hemix.data.public.registry import DATASETS

__all__ = ["DATASETS", "Dataset", "Progress", "get_dataset", "list_datasets"]
