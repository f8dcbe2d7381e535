"""Small layers: activations, norms, MLPs, grouped and split maps."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hemix.nn.activation import Dice, build_activation
from hemix.nn.grouped_linear import GroupedLinear
from hemix.nn.mlp import MLP, SplitLinear, Towers
from hemix.nn.norm import PerTokenLayerNorm, build_norm


def test_dice_in_training_uses_the_batch() -> None:
    """Values 1 and 3: mean 2, deviation 1, gates sigmoid(-1) and sigmoid(1); slope 1/2 where closed."""
    dice = Dice(1, momentum=0.5)
    nn.init.constant_(dice.alpha, 0.5)
    gate = torch.sigmoid(torch.tensor([-1.0, 1.0]))
    expected = torch.tensor([1.0, 3.0]) * (gate + 0.5 * (1 - gate))
    torch.testing.assert_close(dice(torch.tensor([[1.0], [3.0]]))[:, 0], expected)
    assert (dice.running_mean.item(), dice.running_variance.item()) == (1.0, 1.0)


def test_dice_in_evaluation_treats_rows_alone() -> None:
    dice = Dice(3)
    dice(torch.randn(50, 3) * 2 + 1)
    x = torch.randn(7, 3)
    together = dice.eval()(x)
    torch.testing.assert_close(together, torch.cat([dice(row[None]) for row in x]))


def test_dice_takes_a_batch_of_one_row() -> None:
    """The gate is one half: the row is its own mean."""
    assert Dice(2)(torch.tensor([[4.0, -2.0]])).tolist() == [[2.0, -1.0]]


def test_activations_have_a_slope_per_channel() -> None:
    x = torch.tensor([[-4.0, 2.0]])
    assert build_activation("relu", 2)(x).tolist() == [[0.0, 2.0]]
    assert build_activation("prelu", 2)(x).tolist() == [[-1.0, 2.0]]
    assert [p.shape for p in build_activation("dice", 2).parameters()] == [(2,)]


def test_norms_by_hand() -> None:
    """(3, 4): mean square 12.5; centred (-1, 1) / 1 * 1/2."""
    x = torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(build_norm("rms_norm", 2)(x), x / 12.5**0.5)
    torch.testing.assert_close(build_norm("layer_norm", 2)(x), torch.tensor([[-1.0, 1.0]]), atol=1e-4, rtol=0)


def test_each_token_has_its_own_scale_and_shift() -> None:
    norm = PerTokenLayerNorm(2, 2)
    with torch.no_grad():
        norm.weight[1] = 3.0
        norm.bias[1] = 10.0
    found = norm(torch.tensor([[[3.0, 4.0], [3.0, 4.0]]]))
    torch.testing.assert_close(found, torch.tensor([[[-1.0, 1.0], [7.0, 13.0]]]), atol=1e-3, rtol=0)


@given(groups=st.integers(1, 4), rows=st.integers(1, 5), bias=st.booleans())
def test_grouped_linear_is_one_linear_per_group(groups: int, rows: int, bias: bool) -> None:
    layer = GroupedLinear(groups, 3, 2, bias=bias)
    x = torch.randn(groups, rows, 3)
    for g in range(groups):
        expected = x[g] @ layer.weight[g] + (layer.bias[g] if layer.bias is not None else 0)
        torch.testing.assert_close(layer(x)[g], expected)


def test_grouped_linear_starts_as_asked() -> None:
    torch.manual_seed(0)
    assert GroupedLinear(2, 100, 200).weight.abs().max() <= (6 / 300) ** 0.5
    assert abs(GroupedLinear(2, 100, 200, std=0.02).weight.std() - 0.02) < 0.001


@given(request_width=st.integers(0, 3), candidate_width=st.integers(0, 3), rows=st.integers(1, 4))
def test_split_linear_is_one_linear_of_both(request_width: int, candidate_width: int, rows: int) -> None:
    if request_width + candidate_width == 0:
        return
    layer = SplitLinear(request_width, candidate_width, 2)
    of_request, of_candidate = torch.randn(rows, request_width), torch.randn(rows, candidate_width)
    found = layer.candidate(of_candidate, layer.request(of_request))
    torch.testing.assert_close(found, layer.linear(torch.cat([of_request, of_candidate], dim=1)))


def test_towers_are_one_network_per_task() -> None:
    towers = Towers(3, (4,), 2)
    x = torch.randn(5, 3)
    assert torch.equal(towers(x), torch.cat([tower(x) for tower in towers.tasks], dim=1))
    assert Towers(3, (), 2)(x).shape == (5, 2)


def test_an_mlp_without_layers_is_the_identity() -> None:
    x = torch.randn(2, 3)
    assert torch.equal(MLP(3, ())(x), x)
