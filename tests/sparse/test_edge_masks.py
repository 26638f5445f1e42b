"""Layers of edges seen as masked matrices."""

from __future__ import annotations

import pytest
import torch

import deepgraph as dg
from deepgraph.sparse import EdgeLayer, edge_values, maskable_layers_with_name
from deepgraph.sparse.edge_masks import EdgeMasks

MASKED = EdgeLayer if issubclass(EdgeLayer, EdgeMasks) else type("MaskedEdgeLayer", (EdgeMasks, EdgeLayer), {})


def layers(model: torch.nn.Module) -> list[EdgeMasks]:
    for module in model.modules():
        if type(module) is EdgeLayer:
            module.__class__ = MASKED
    return [layer for _, layer in maskable_layers_with_name(model)]  # type: ignore[misc]


def network(storage: str = "csr", density: float = 0.5) -> dg.MaskedDeepFFN:
    return dg.MaskedDeepFFN(6, 3, [5], density=density, storage=storage, seed=0)


@pytest.mark.parametrize("storage", ["csr", "masked"])
def test_masks_are_read_and_set(storage: str) -> None:
    model = network(storage)
    first, last = layers(model)
    assert [name for name, _ in maskable_layers_with_name(model)] == ["layers.0", "layers.1"]
    assert first.mask.shape == (5, 6)
    assert int(first.mask.sum()) == first.get_weight_count() == model.edge_sets[0].num_edges
    wanted = torch.eye(3, 5)
    kept = last.edges.values().clone(), last.mask
    last.mask = wanted
    assert torch.equal(last.mask, wanted.bool())
    assert model.graph.history[-1].reason == "mask"
    last.mask = kept[1]
    assert last.edges.values().count_nonzero() <= kept[0].count_nonzero()
    model(torch.zeros(2, 6)).sum().backward()


def test_recompute_and_reset() -> None:
    model = network(density=1.0)
    first, _ = layers(model)
    assert first.recompute_mask(0.3) is first
    assert first.get_weight_count() == int((first.edges.values().abs() >= 0.3).sum()) < 30
    kept = first.mask
    assert first.reset_parameters(keep_mask=True).apply_mask() is first
    assert torch.equal(first.mask, kept)
    assert first.recompute_mask(0.0).get_weight_count() == int(kept.sum())
    assert first.recompute_mask(0.0, keep_masked=False).get_weight_count() == 30
    first.mask = kept
    assert first.reset_parameters().get_weight_count() == 30
    with pytest.raises(ValueError, match="theta: expected a finite number >= 0, got -1"):
        first.recompute_mask(-1)


def test_a_structure_has_admissible_pairs_only() -> None:
    model = dg.MaskedDeepDAN.from_graph(dg.priors.random_layered([3, 4, 2], 0.5, seed=0), seed=0)
    (core,) = layers(model)
    core.reset_parameters()
    assert model.density == 1
    assert core.get_weight_count() == 3 * 6 + 4 * 2
    with pytest.raises(ValueError, match="go up in stage"):
        core.mask = torch.ones(9, 9)
    assert core.get_weight_count() == 26


def test_saliency_is_an_edge_column() -> None:
    model = network()
    first, _ = layers(model)
    assert torch.equal(first.saliency > 0, first.mask)
    first.saliency = torch.arange(30.0).view(5, 6)
    assert torch.equal(first.saliency, torch.arange(30.0).view(5, 6) * first.mask)
    assert model.edge_sets[0].columns.has("saliency")
    with pytest.raises(ValueError, match=r"saliency: expected shape \(5, 6\)"):
        first.saliency = torch.ones(6, 5)


def test_masks_are_checked() -> None:
    first, _ = layers(network())
    with pytest.raises(ValueError, match=r"mask: expected shape \(5, 6\), \(targets, sources\), got \(6, 5\)"):
        first.mask = torch.ones(6, 5)
    with pytest.raises(TypeError, match="expected a tensor of bool or of zeros and ones, got list"):
        first.mask = [[1]]
    with pytest.raises(ValueError, match="expected zeros and ones, got other numbers"):
        first.mask = torch.full((5, 6), 2.0)
    assert len(edge_values(network())) == 2
