"""Where edge sets meet: chains of linear modules in a Sequential, and what breaks them."""

import numpy as np
import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.sparse import edge_values
from deepgraph.sparse.networks import BORDER, networks_of


class Halves(nn.Sequential):
    """A sequence with a forward of its own."""

    def forward(self, x):
        return self[1](self[0](x)[..., ::2])


def sizes(model, density=0.5):
    """Return how many neurons each network of a sparsified model has."""
    dg.sparsify(model, density, seed=0)
    return [network.num_nodes for network in networks_of(edge_values(model), model)]


relu, twice = nn.ReLU(), nn.Linear(4, 4)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nn.Sequential(nn.Linear(3, 4), relu, nn.Linear(4, 5), relu, nn.Linear(5, 2)), [14]),
        (nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.GELU(), nn.Linear(4, 5)), nn.Linear(5, 2)), [14]),
        (nn.ModuleDict({"a": nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), "b": nn.Linear(2, 2)}), [9]),
        (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)), []),
        (nn.Sequential(nn.Linear(3, 4), nn.Softmax(1), nn.Linear(4, 2)), []),
        (nn.Sequential(nn.Linear(3, 8), nn.Unflatten(1, (2, 4)), nn.Linear(4, 2)), []),
        (nn.Sequential(nn.Conv1d(2, 4, 1), nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 2)), [9]),
        (nn.Sequential(nn.Linear(3, 4), twice, twice, nn.Linear(4, 2)), []),
        (Halves(nn.Linear(3, 4), nn.Linear(2, 2)), []),
        (nn.ModuleList([nn.Linear(3, 4), nn.Linear(4, 2)]), []),
    ],
)
def test_chains(model, expected):
    assert sizes(model) == expected


def test_our_layers_are_part_of_a_chain():
    ffn = dg.MaskedDeepFFN(4, 3, [6], density=0.5, seed=0)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), ffn, nn.ReLU(), dg.SparseLinear(3, 2, 0.5, seed=0))
    dg.sparsify(model, 0.5, seed=0)
    values = edge_values(model)
    networks = networks_of(values, model)
    # Those of our own modules, and the whole.
    assert [network.num_nodes for network in networks] == [13, 5, 17]
    whole = networks[-1]
    assert [values[index].edge_set.num_edges for index, _, _ in whole.parts] == [len(src) for _, src, _ in whole.parts]
    assert (whole.fed.sum(), whole.shown.sum()) == (2, 2)
    for index, src, dst in whole.parts:
        assert (np.diff(src) >= 0).all()
        assert src.max() < dst.min(), index


def test_borders_join_engines():
    model = dg.MaskedDeepDAN(4, 2, dg.priors.random_layered([3, 4, 3], 0.8, seed=0), seed=0)
    (network,) = networks_of(edge_values(model))
    assert [index for index, _, _ in network.parts] == [0, 1, 2, BORDER, BORDER]
    normed = nn.Sequential(dg.MaskedDeepFFN(3, 3, [4], True, seed=0), dg.SparseLinear(3, 2, seed=0))
    assert [network.num_nodes for network in networks_of(edge_values(normed), normed)][-1] == 5
    assert torch.is_tensor(normed(torch.zeros(1, 3)))
