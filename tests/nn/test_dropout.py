"""Dropout: shares within binomial bounds, scale, gradients, and where it does nothing."""

import math

import pytest
import torch

from hemix.nn.dropout import FastDropout


def ones(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.ones(*shape, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("p", [0.5, 0.2, 0.05, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dropped_share_is_p_and_the_rest_is_scaled(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    x = ones(1001, 200, dtype=dtype)
    y = FastDropout(p)(x)
    assert y.dtype == dtype
    dropped = (y == 0).double().mean()
    assert abs(dropped - p) < 5 * math.sqrt(p * (1 - p) / x.numel())
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)))


def test_numbers_of_one_draw_are_independent() -> None:
    torch.manual_seed(4)
    kept = (FastDropout(0.5)(ones(100_000, 4)) != 0).double()
    rows = torch.bincount((kept * torch.tensor([8.0, 4.0, 2.0, 1.0])).sum(dim=1).long(), minlength=16)
    expected = 100_000 / 16
    chi_squared = ((rows - expected).square() / expected).sum()
    assert chi_squared < 37.7  # 99.9 % of chi-squared with 15 degrees of freedom


def test_the_gradient_is_the_mask() -> None:
    torch.manual_seed(5)
    x = ones(7, 5)
    y = FastDropout(0.4)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, y.detach())


def test_equal_seeds_drop_the_same() -> None:
    layer, x = FastDropout(0.5), torch.randn(33, 7)
    torch.manual_seed(6)
    one, two = layer(x), layer(x)
    torch.manual_seed(6)
    assert torch.equal(one, layer(x))
    assert not torch.equal(one, two)


def test_nothing_is_dropped_in_evaluation_or_at_zero() -> None:
    x = torch.randn(4, 3)
    assert torch.equal(FastDropout(0.5).eval()(x), x)
    assert torch.equal(FastDropout(0.0)(x), x)


def test_shares_beyond_what_16_bits_can_say() -> None:
    x = torch.ones(1000, 100)
    assert torch.equal(FastDropout(1.0)(x), torch.zeros_like(x))
    assert torch.isfinite(FastDropout(1 - 1e-7)(x)).all()
    assert (FastDropout(1e-7)(x) != 0).all()


@pytest.mark.parametrize("shape", [(0, 3), (1,), (), (2, 3, 5)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert FastDropout(0.5)(torch.ones(shape)).shape == shape
