"""Fields side by side."""

import pytest
import torch

from hemix.errors import ConfigError
from hemix.nn.fields import Fields, Layout


def test_tokens_are_the_fields_one_by_one() -> None:
    fields = Fields(values=torch.arange(12.0).view(2, 6), widths=(2, 2, 2), names=("a", "b", "c"))
    assert fields.tokens()[1].tolist() == [[6, 7], [8, 9], [10, 11]]


def test_tokens_need_one_width() -> None:
    fields = Fields(values=torch.zeros(2, 5), widths=(2, 3), names=("a", "b"))
    with pytest.raises(ConfigError, match="needs fields of one width, got a 2, b 3; give every feature the same 'dim'"):
        fields.tokens()


def test_select_puts_fields_in_the_given_order() -> None:
    fields = Fields(values=torch.arange(6.0)[None], widths=(1, 3, 2), names=("a", "b", "c"))
    chosen = fields.select(["c", "a"])
    assert (chosen.values.tolist(), chosen.widths, chosen.names) == ([[4.0, 5.0, 0.0]], (2, 1), ("c", "a"))
    assert fields.select(["a", "b", "c"]) is fields
    assert fields.select([]).values.shape == (1, 0)


def test_layout_knows_its_width() -> None:
    layout = Layout(names=("a", "b"), widths=(2, 3))
    assert (layout.width, layout.select(["b"])) == (5, Layout(names=("b",), widths=(3,)))
