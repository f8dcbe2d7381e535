"""Fields of one side as a model sees them that keeps numbers raw: the numbers apart, everything else a vector."""

from hemix.batch import FieldSpec
from hemix.nn.fields import Layout, common_width


class NumberSplit:
    """Names of the fields of one side that are raw numbers, and the layout of those that are vectors."""

    def __init__(self, fields: tuple[FieldSpec, ...], layout: Layout) -> None:
        self.numbers = tuple(field.name for field in fields if field.kind == "number")
        self.vectors = layout.select([name for name in layout.names if name not in self.numbers])


def one_width(layouts: list[Layout], user: str) -> int:
    """The one width of the fields of all layouts; `user` says who needs it. Raises ConfigError if there is none."""
    names = tuple(name for layout in layouts for name in layout.names)
    widths = tuple(width for layout in layouts for width in layout.widths)
    return common_width(Layout(names=names, widths=widths), user)
