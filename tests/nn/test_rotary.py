"""Rotary positions: products of turned vectors depend on the distance of their places alone."""

import math

import torch

from hemix.nn.rotary import rotate


def test_pencil() -> None:
    """Width 4: pairs (0, 2) by t radians and (1, 3) by t / 100 radians."""
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64).expand(3, -1)
    found = rotate(x)[2]
    a, b = 2.0, 0.02
    expected = [
        math.cos(a) - 3 * math.sin(a),
        2 * math.cos(b) - 4 * math.sin(b),
        math.sin(a) + 3 * math.cos(a),
        2 * math.sin(b) + 4 * math.cos(b),
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_products_depend_on_the_distance() -> None:
    random = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 8, generator=random, dtype=torch.float64)
    queries, keys = (rotate(x.expand(20, -1)) for x in (query, key))
    products = queries @ keys.T
    for distance in range(-5, 6):
        diagonal = products.diagonal(offset=distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    torch.testing.assert_close(queries.norm(dim=1), query.norm().expand(20))
