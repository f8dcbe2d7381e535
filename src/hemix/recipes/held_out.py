"""Validation rows for data that is published as a training and a test part."""


def split_tables(
    rows: str, held_out: str, *, validate_on_test: bool, order: str | None = None
) -> dict[str, dict[str, str]]:
    """Tables train, valid and test of the table `rows`, whose column `part` is train or test.

    Training rows that meet the SQL condition `held_out` validate. With `validate_on_test` all training rows train and
    the test rows validate too, as in BARS and the papers that follow it: their figures are those of the epoch that was
    best on the test rows. `order` is for a condition that joins or groups, after which rows stand anyhow.
    """
    training = "part = 'train'"
    conditions = {
        "train": training if validate_on_test else f"{training} AND NOT ({held_out})",
        "valid": "part = 'test'" if validate_on_test else f"{training} AND ({held_out})",
        "test": "part = 'test'",
    }
    ordered = "" if order is None else f" ORDER BY {order}"
    return {
        split: {"sql": f"SELECT * FROM {rows} WHERE {condition}{ordered}"} for split, condition in conditions.items()
    }


BY_TABLE = {"train": "train", "valid": "valid", "test": "test"}
"""`examples.table` of these tables."""
