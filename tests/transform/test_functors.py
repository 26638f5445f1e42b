"""deepstruct's names: same calls, right graphs."""

import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn

from deepgraph.errors import ArgumentError, DtypeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.sparse import MaskedDeepDAN, MaskedDeepFFN
from deepgraph.transform import Conv2dLayerFunctor, GraphTransform, LinearLayerFunctor, extract


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_the_snippet_of_the_readme():
    structure = CachedLayeredGraph()
    structure.add_edges_from(nx.balanced_tree(r=2, h=3).edges)
    model = MaskedDeepDAN((5, 5), 2, structure)
    graph = GraphTransform(torch.randn((1, 5, 5))).transform(model)
    assert isinstance(graph, CachedLayeredGraph)
    assert len(graph.nodes) == 25 + 15 + 2


def test_batches_masks_and_execution_order():
    model = MaskedDeepFFN(6, 3, [5], density=0.5, seed=0)
    graph = GraphTransform(torch.randn(8, 6)).transform(model)
    assert list(graph.edges) == list(model.graph.edges)

    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(3, 2), nn.Linear(4, 3)

        def forward(self, x):
            return self.last(torch.relu(self.first(x)))

    model = Late()
    before = {name: value for name, value in vars(model).items() if name != "_modules"}
    forward = type(model).forward
    graph = GraphTransform(torch.randn(2, 4)).transform(model)
    assert [graph.get_layer_size(layer) for layer in graph.layers] == [4, 3, 2]
    assert "forward" not in vars(model)
    assert type(model).forward is forward
    assert before.keys() == {name for name in vars(model) if name != "_modules"}


def test_options_are_those_of_extract():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    assert GraphTransform(torch.randn(1, 4), density=0.5).transform(model).number_of_edges() == 12
    assert GraphTransform(torch.randn(1, 4), order=2).transform(model).number_of_nodes() == 4


def test_a_linear_layer_is_cut_at_the_threshold():
    layer = nn.Linear(7, 5)
    graph = LinearLayerFunctor(threshold=0.2).transform(layer)
    assert graph.number_of_edges() == int((layer.weight.abs() > 0.2).sum())
    assert LinearLayerFunctor(0).transform(layer).number_of_edges() == 35
    assert LinearLayerFunctor().applies(layer)
    assert not LinearLayerFunctor().applies(nn.ReLU())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.Conv2d(2, 4, (2, 3), padding=(0, 2), dilation=(1, 2)),
        nn.Conv2d(2, 4, 3, padding="same", groups=2),
        nn.Conv2d(2, 4, 2, stride=(1, 3), padding_mode="circular", padding=1),
    ],
    ids=repr,
)
def test_a_convolution_has_the_edges_of_its_jacobian(reach, layer):
    graph = Conv2dLayerFunctor(6, 5, threshold=0).transform(layer)
    x = torch.randn(1, 2, 5, 6)
    jacobian = torch.autograd.functional.jacobian(layer, x).reshape(len(graph.graph["outputs"]), -1)
    assert np.array_equal(reach(graph), (jacobian != 0).numpy())
    assert list(graph.edges) == list(extract(layer, x).edges)


def test_other_arguments_are_refused():
    with pytest.raises(DtypeError, match="expected an example input as a tensor, got tuple"):
        GraphTransform((1, 5, 5))
    with pytest.raises(DtypeError, match=r"expected an nn.Linear, got ReLU"):
        LinearLayerFunctor().transform(nn.ReLU())
    with pytest.raises(DtypeError, match=r"expected an nn.Conv2d, got Linear"):
        Conv2dLayerFunctor(4, 4).transform(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match="width and height from 1, got 0 and 4"):
        Conv2dLayerFunctor(0, 4)
