"""Modules on the device meta, which has shapes and no values: what works there, and what says why it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import deepgraph as dg
from deepgraph.errors import UnsupportedOperationError
from deepgraph.kernels.plan import has_numba
from deepgraph.kernels.windows import ConvolutionShape

MODELS = {
    "ffn": lambda: dg.MaskedDeepFFN(6, 3, [4], density=0.5, storage="csr", seed=0),
    "masked": lambda: dg.MaskedDeepFFN(6, 3, [4], density=0.5, storage="masked", seed=0),
    "graph": lambda: dg.MaskedDeepDAN.from_graph(dg.priors.random_layered([6, 4, 3], 0.5, seed=0), seed=0),
}


@pytest.mark.parametrize("kind", MODELS)
def test_shapes_are_computed_and_values_refused(kind):
    model = MODELS[kind]().to("meta")
    assert model(torch.empty(2, 6, device="meta")).shape == (2, 3)
    with pytest.raises(UnsupportedOperationError, match="x: expected device meta as the model's, got cpu"):
        model(torch.zeros(2, 6))
    with pytest.raises(UnsupportedOperationError, match="expected weights, got a module on the device meta"):
        model.graph.column("weight")
    with pytest.raises(UnsupportedOperationError, match="expected a model and inputs with values, got tensors on the"):
        dg.extract(model, torch.empty(1, 6, device="meta"))
    model.to_empty(device="cpu")
    model.load_state_dict(MODELS[kind]().state_dict())
    x = torch.randn(2, 6)
    assert torch.equal(model(x), MODELS[kind]()(x))


def test_cells_refuse_too():
    g = dg.priors.random_layered([6, 4, 3], 0.5, seed=0)
    model = dg.MaskedDeepDAN.from_graph(g, cell=dg.cells.Linear(1), seed=0).to("meta")
    with pytest.raises(UnsupportedOperationError, match="expected kernels with values, got a module on the"):
        model(torch.empty(2, 6, device="meta"))
    twin = dg.MaskedDeepDAN.from_graph(g, cell=dg.cells.Linear(1), seed=0)
    model.to_empty(device="cpu")
    model.load_state_dict(twin.state_dict())
    x = torch.randn(2, 6)
    assert torch.equal(model(x), twin(x))


@pytest.mark.skipif(not has_numba(), reason="needs numba")
def test_shifted_windows_know_two_dtypes():
    from deepgraph.kernels.numba_windows import NumbaWindows

    kernel = NumbaWindows(ConvolutionShape(1, 1, (1, 1)), np.array([0]), np.array([0]))
    half = torch.ones(1, dtype=torch.bfloat16)
    with pytest.raises(UnsupportedOperationError, match=r"NumbaWindows computes float32 and float64, got torch"):
        kernel.forward(half.view(1, 1, 1, 1), half, half)
