"""Public data by name: official files to tidy Parquet tables, with licence, citation and checksums."""

from hemix.data.public.catalog import DATASETS
from hemix.data.public.dataset import Dataset, Progress
from hemix.data.public.get import get_dataset, list_datasets

__all__ = ["DATASETS", "Dataset", "Progress", "get_dataset", "list_datasets"]
