"""Trained models from the cache: extracted, compiled, pruned and written back. Skipped where they are not there."""

import copy
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deepgraph.sparse import MaskedDeepDAN
from deepgraph.transform import apply_edits, extract

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models():
    """Return the module that reads the cache."""
    file = Path(__file__).parents[2] / "examples" / "benchmarks" / "real_models.py"
    spec = importlib.util.spec_from_file_location("real_models", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["real_models"] = module
    spec.loader.exec_module(module)
    return module


def load(make):
    try:
        return make()
    except (FileNotFoundError, ImportError) as error:
        pytest.skip(f"not there: {error}")


def predict(model, images):
    with torch.no_grad():
        return torch.cat([model(part) for part in images.split(250)])


def prune_half(model, graph):
    """Remove all edges of the smaller half of the parameter entries of a graph."""
    weight = np.concatenate([p.detach().abs().numpy().reshape(-1) for p in model.parameters()])
    starts = np.cumsum([0] + [p.numel() for p in model.parameters()])
    origin = starts[graph.column("parameter")] + graph.column("entry")
    entries = np.unique(origin)
    small = entries[np.argsort(weight[entries])[: len(entries) // 2]]
    src, dst = graph.edge_arrays()
    gone = np.isin(origin, small)
    graph.edit(drop=(src[gone].copy(), dst[gone].copy()))
    return small


def test_the_mnist_cnn_goes_round(models):
    model = load(models.mnist_cnn)
    images, labels = load(models.mnist_test)
    graph = extract(model, images[:1])
    assert graph.graph["exact"]
    assert graph.number_of_edges() == 26 * 26 * 32 * 9 + 24 * 24 * 64 * 288 + 12 * 12 * 64 * 4 + 9216 * 128 + 1280
    compiled = MaskedDeepDAN.from_graph(graph)
    expected, found = predict(model, images), predict(compiled, images.flatten(1))
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5
    assert float((found.argmax(1) == labels).float().mean()) == pytest.approx(0.9907, abs=1e-6)
    assert torch.equal(found.argmax(1), expected.argmax(1))
    small = prune_half(model, graph)
    apply_edits(model, graph)
    assert sum(int((p == 0).sum()) for p in model.parameters()) >= len(small)
    after, again = predict(model, images), predict(MaskedDeepDAN.from_graph(graph), images.flatten(1))
    assert not torch.equal(after, expected)
    assert torch.equal(after.argmax(1), again.argmax(1))
    assert float((again - after).abs().max() / after.abs().max()) < 1e-5


def test_the_torchani_ensemble_is_carried_and_follows_changes_of_weights(models):
    model = load(models.torchani_ensemble)
    x = torch.rand(64, 384)
    graph = extract(model, x)
    assert graph.graph["exact"]
    assert graph.number_of_edges() == 8 * (384 * 160 + 160 * 128 + 128 * 96 + 96 + 1)
    expected = model(x).detach()
    found = MaskedDeepDAN.from_graph(graph)(x).detach()
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5
    noisy = copy.deepcopy(model)
    generator = np.random.default_rng(0)
    change = (1 + 0.1 * generator.normal(size=graph.number_of_edges())).astype(np.float32)
    change[graph.column("parameter") < 0] = 1
    graph.set_column("weight", graph.column("weight") * change)
    apply_edits(noisy, graph)
    expected, found = noisy(x).detach(), MaskedDeepDAN.from_graph(graph)(x).detach()
    assert not torch.allclose(expected, model(x).detach())
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


def test_minilm_at_order_one(models):
    model = load(models.minilm)
    graph = extract(model, torch.tensor([[101, 7592, 2088, 102]]), order=1)
    modules = graph.node_column("module")
    assert graph.number_of_edges() > 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    up = np.flatnonzero(modules == "blocks.3.up")
    assert len(up) == 1536
    src, dst = graph.edge_arrays()
    mine = dst == up[5]
    weight = model.blocks[3].up.weight.detach().numpy()[5]
    assert np.allclose(graph.column("weight")[mine], np.abs(weight))
    words = np.flatnonzero(src == 0)
    assert len(words) == 384
    table = model.word.weight.detach()
    assert graph.column("count")[words].tolist() == (table != 0).sum(0).tolist()
    assert np.allclose(graph.column("weight")[words], table.norm(dim=0), rtol=1e-4)
    heads = [graph.graph["results"][r][0] for r in graph.node_column("result")].count("aten::_softmax")
    assert heads == 6 * 12
    assert len(graph.graph["outputs"]) == 384
