"""torch.compile, torch.export, copies: modules are one graph of opaque operators that edits reach from outside."""

import copy
import io
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

import deepgraph as dg
from deepgraph.sparse import edge_values

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="inductor needs a C++ compiler"
)
QUICK = ("ffn csr", "graph", "convolution csr")


def graph():
    return dg.priors.random_layered([6, 5, 4, 2], 0.7, seed=0, skip=1)


def small():
    return dg.priors.random_layered([3, 5, 4, 2], 0.7, seed=0, skip=1)


MODELS = {
    "ffn csr": lambda: dg.MaskedDeepFFN(6, 3, [7, 5], density=0.5, storage="csr", seed=0),
    "ffn masked": lambda: dg.MaskedDeepFFN(6, 3, [7, 5], density=0.5, storage="masked", seed=0),
    "ffn with norm": lambda: dg.MaskedDeepFFN(
        6, 3, [7, 5], True, density=0.5, storage="csr", activation="tanh", seed=0
    ),
    "graph": lambda: dg.MaskedDeepDAN.from_graph(graph(), activation="tanh", seed=0),
    "stem and head": lambda: dg.MaskedDeepDAN(6, 2, graph(), activation="gelu", seed=0),
    "linear": lambda: dg.SparseLinear(6, 3, 0.5, seed=0),
    "convolution csr": lambda: convolved("csr"),
    "convolution masked": lambda: convolved("masked"),
    "sparsified": lambda: sparsified(),
    "prelu": lambda: dg.MaskedDeepFFN(6, 3, [7, 5], density=0.5, storage="csr", activation="prelu", seed=0),
    "cells": lambda: dg.MaskedDeepDAN.from_graph(small(), cell=dg.cells.Linear(2), activation="prelu", seed=0),
}


def convolved(storage):
    return nn.Sequential(
        nn.Unflatten(1, (2, 3)),
        dg.SparseConv1d(2, 4, 3, 0.5, padding=1, storage=storage, seed=0),
        nn.Flatten(),
        dg.SparseLinear(12, 3, 0.5, seed=1),
    )


def sparsified():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return dg.sparsify(nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 3)), 0.5, seed=0)


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def run(model, call, x):
    """Return output and gradients of one pass."""
    model.zero_grad()
    leaf = x.clone().requires_grad_()
    y = call(leaf)
    (y * y).sum().backward()
    return [y.detach(), leaf.grad, *(p.grad.clone() for p in model.parameters())]


def agree(model, compiled, x):
    for got, wanted in zip(run(model, compiled, x), run(model, model, x), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "backend"),
    [
        *((kind, "aot_eager") for kind in MODELS),
        # A C++ compiler takes seconds for each.
        *(
            pytest.param(kind, "inductor", marks=[needs_compiler, *([] if kind in QUICK else [pytest.mark.slow])])
            for kind in MODELS
        ),
    ],
)
def test_a_compiled_module_gives_the_same_also_after_edits_without_compiling_again(kind, backend):
    model = MODELS[kind]()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    dg.follow(model, optimizer)
    x = torch.randn(8, 6)
    agree(model, compiled, x)
    graphs = counters["stats"]["unique_graphs"]
    for _ in range(3):
        for values in edge_values(model):
            src, dst = values.edge_set.pairs()
            gone = np.arange(len(src)) == 1
            values.edge_set.edit(drop=(src[gone], dst[gone]))
        agree(model, compiled, x)
        optimizer.step()
        agree(model, compiled, x)
    assert counters["stats"]["unique_graphs"] == graphs == 1


@pytest.mark.filterwarnings("ignore")
def test_rigl_edits_a_compiled_module_as_it_edits_the_module():
    results = []
    for compiling in (False, True):
        model = MODELS["ffn csr"]()
        call = torch.compile(model, fullgraph=True, backend="aot_eager") if compiling else model
        optimizer = dg.RigL(model, torch.optim.SGD(model.parameters(), lr=0.1), every=2, until=20, seed=0)
        generator = torch.Generator().manual_seed(0)
        for _ in range(8):
            optimizer.zero_grad()
            call(torch.randn(16, 6, generator=generator)).square().sum().backward()
            optimizer.step()
        results.append(model.state_dict())
    assert len(model.graph.history)
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["ffn csr", "graph", "convolution csr"])
def test_other_batch_sizes_compile_once_per_tile_width(kind):
    model = MODELS[kind]()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    for batch in (8, 3, 24, 40, 129, 500, 2, 16, 17):
        agree(model, compiled, torch.randn(batch, 6))
    # Tiles are 16, 32 or 64 columns wide, and torch tells one tile from several.
    assert counters["stats"]["unique_graphs"] <= 6


@pytest.mark.parametrize("kind", MODELS)
def test_copies_compute_the_same_and_are_edited_apart(kind):
    model = MODELS[kind]()
    x = torch.randn(4, 6)
    expected = model(x).detach()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(other(x), expected, rtol=0, atol=0)
        src, dst = edge_values(other)[0].edge_set.pairs()
        edge_values(other)[0].edge_set.edit(drop=(src[:2], dst[:2]))
        torch.testing.assert_close(model(x), expected, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", MODELS)
def test_an_exported_module_computes_with_the_edges_it_has_then(kind):
    model = MODELS[kind]().eval()
    x = torch.randn(4, 6)
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), model(x))


@pytest.mark.filterwarnings("ignore")
def test_an_exported_module_runs_here_and_says_elsewhere_why_it_cannot(tmp_path):
    model = MODELS["ffn csr"]().eval()
    x = torch.randn(4, 6)
    exported = torch.export.export(model, (x,))
    torch.testing.assert_close(exported.module()(x), model(x))
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    (tmp_path / "model.pt2").write_bytes(buffer.getvalue())
    code = f"""
import torch, deepgraph.kernels.operator
program = torch.export.load(r"{tmp_path / "model.pt2"}")
program.module()(torch.zeros(4, 6))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert "stands for no live program: its network was deleted, or it comes from another process" in done.stderr
