"""CUDA: modules compute, are edited, rewired, extracted and saved there as on the CPU. Skipped without a GPU."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.sparse import edge_values

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def graph() -> dg.CachedLayeredGraph:
    return dg.priors.random_layered([6, 5, 4], 0.5, seed=0, skip=1)


def make(kind: str, storage: str) -> nn.Module:
    """Return a model of 6 inputs in float64 on the CPU."""
    options: dict[str, Any] = {"seed": 0, "dtype": torch.float64}
    if kind == "convolution":
        convolution = dg.SparseConv1d(2, 4, 2, 0.5, storage="csr" if storage == "coo" else storage, **options)
        return nn.Sequential(nn.Unflatten(1, (2, 3)), convolution, nn.Flatten())
    if kind == "cells":
        return dg.MaskedDeepDAN.from_graph(graph(), cell=dg.cells.Linear(1), activation="tanh", **options)
    options["storage"] = storage
    if kind == "graph":
        return dg.MaskedDeepDAN.from_graph(graph(), activation="tanh", **options)
    if kind == "linear":
        return dg.SparseLinear(6, 4, 0.5, **options)
    if kind == "sparsified":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return dg.sparsify(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)).double(), 0.5, seed=0)
    bend = "prelu" if kind == "prelu" else "tanh"
    return dg.MaskedDeepFFN(6, 4, [7], density=0.5, activation=bend, **options)


KINDS = ["ffn", "prelu", "graph", "linear", "convolution", "cells", "sparsified"]


@pytest.mark.parametrize("storage", ["csr", "coo", "masked"])
@pytest.mark.parametrize("kind", KINDS)
def test_training_with_edits_is_that_of_the_cpu(kind: str, storage: str) -> None:
    x = torch.randn(8, 6, dtype=torch.float64)
    results = []
    for device in ("cpu", "cuda"):
        model = make(kind, storage).to(device)
        optimizer = dg.RigL(model, torch.optim.Adam(model.parameters(), lr=0.01), every=2, until=20, seed=0)
        for _ in range(6):
            optimizer.zero_grad()
            model(x.to(device)).square().mean().backward()
            optimizer.step()
        state = {name: value.cpu() for name, value in model.state_dict().items()}
        results.append((model(x.to(device)).detach().cpu(), state))
    torch.testing.assert_close(results[0][0], results[1][0])
    for name, value in results[0][1].items():
        torch.testing.assert_close(results[1][1][name], value)


@pytest.mark.parametrize("kind", KINDS)
def test_moves_copies_extraction_and_files(kind: str, tmp_path: Any) -> None:
    model, x = make(kind, "csr"), torch.randn(3, 6, dtype=torch.float64)
    expected = model(x).detach()
    model.to("cuda")
    there = x.to("cuda")
    torch.testing.assert_close(model(there).cpu(), expected)
    torch.testing.assert_close(copy.deepcopy(model)(there).cpu(), expected)
    again = dg.MaskedDeepDAN.from_graph(dg.extract(model, there[:1]), dtype=torch.float64)
    torch.testing.assert_close(again(x).view_as(expected), expected)
    values = edge_values(model)[0]
    src, dst = values.edge_set.pairs()
    values.edge_set.edit(drop=(src[:2].copy(), dst[:2].copy()))
    here = copy.deepcopy(model).to("cpu")
    torch.testing.assert_close(model(there).cpu(), here(x))
    dg.save({"model": model}, tmp_path / "file")
    dg.load(tmp_path / "file", into={"model": model})
    torch.testing.assert_close(model(there).cpu(), here(x))


def test_inputs_on_another_device_are_refused() -> None:
    with pytest.raises(ValueError, match="expected device cuda:0 as the model's, got cpu"):
        make("ffn", "csr").to("cuda")(torch.zeros(1, 6, dtype=torch.float64))
