"""How good a ranker is: metrics, one pass over a split, comparisons with intervals, and pages to look at."""
