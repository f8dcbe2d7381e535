"""HeMix: a ranking system for recommendation, from raw interaction logs to a trained and evaluated CTR model."""

__version__ = "0.1.0"
