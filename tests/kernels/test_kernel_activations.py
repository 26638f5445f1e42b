"""Activations: derivatives equal autograd's, gains keep the second moment, and users can register their own."""

from __future__ import annotations

import math

import pytest
import torch
from naive_network import error, random_topology

from deepgraph.errors import ArgumentError, UnsupportedOperationError
from deepgraph.kernels import activations
from deepgraph.kernels.activations import activation, activation_names, register_activation
from deepgraph.kernels.numba_walk import NumbaWalk
from deepgraph.kernels.operator import Program
from deepgraph.kernels.plan import has_numba
from deepgraph.kernels.topology import Topology

NAMES = ["identity", "relu", "leaky_relu", "tanh", "sigmoid", "gelu", "silu", "elu", "celu", "softplus", "prelu"]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what a test registers."""
    monkeypatch.setattr(activations, "_by_name", dict(activations._by_name))
    monkeypatch.setattr(activations, "_by_code", dict(activations._by_code))


@pytest.mark.parametrize("name", NAMES)
def test_the_derivative_equals_autograds(name: str) -> None:
    entry = activation(name)
    z = torch.linspace(-6, 6, 101, dtype=torch.float64)
    leaf = z.clone().requires_grad_()
    slope = (0.25,) if entry.has_slope else ()
    a = entry.forward(leaf, *slope)
    grad = torch.linspace(1, 2, 101, dtype=torch.float64)
    (expected,) = torch.autograd.grad(a, leaf, grad)
    known = z if entry.needs_input else a.detach()
    # Only at the kink, z = 0, may the derivative be another.
    away = z.abs() > 1e-9
    assert error(entry.backward(grad, known, *slope)[away], expected[away]) < 1e-8
    if slope:
        assert torch.equal(a, torch.nn.functional.prelu(leaf, torch.tensor(0.25, dtype=torch.float64)))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("tanh", "sigmoid")])
def test_gains_keep_the_second_moment(name: str) -> None:
    entry = activation(name)
    z = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    a = entry.forward(z, *((0.25,) if entry.has_slope else ()))
    moment = float((a.square() * density).sum() * (z[1] - z[0]))
    assert entry.gain == pytest.approx(moment**-0.5, rel=2e-3)


def test_names_and_codes_are_fixed() -> None:
    # Codes are written to files.
    assert [activation(name).code for name in NAMES] == list(range(11))
    assert activation_names()[:11] == NAMES


def test_a_registered_activation_runs_on_torch_kernels_and_the_plan_says_so(registry: None) -> None:
    entry = register_activation("square", lambda z: z * z, gain=0.5)
    assert entry.is_custom
    assert activation(entry.code) is activation("square") is entry
    t = Topology(3, [0, 1], [1, 2], [0, 1, 2], [0], [2], [0, entry.code, 0])
    network = Program(t, "csr", dtype=torch.float64)
    assert network.kernel.name == "TorchWalk"
    assert "registered activations square need torch kernels" in str(network.plan)
    w = torch.tensor([3.0, 2.0], dtype=torch.float64, requires_grad=True)
    y = network(torch.tensor([[2.0]], dtype=torch.float64), [w], torch.zeros(2, dtype=torch.float64))
    y.backward()
    assert y.item() == 2 * (3 * 2) ** 2
    assert w.grad.tolist() == [2 * 2 * (3 * 2) * 2, 36]
    if has_numba():
        with pytest.raises(UnsupportedOperationError, match=r"registered activations \['square'\] cannot be compiled"):
            NumbaWalk(t)


def test_registering_again_replaces_the_function(registry: None) -> None:
    first = register_activation("mine", torch.sin)
    second = register_activation("mine", torch.cos)
    assert first.code == second.code
    assert register_activation("other", torch.sin).code == first.code + 1


def test_errors_name_what_is_wrong(registry: None) -> None:
    with pytest.raises(ArgumentError, match=r"unknown activation 'rleu': expected one of identity, relu"):
        activation("rleu")
    with pytest.raises(ArgumentError, match=r"new name for an activation, got 'relu', which is taken"):
        register_activation("relu", torch.sin)
    with pytest.raises(ArgumentError, match="new name for an activation, got ''"):
        register_activation("", torch.sin)
    with pytest.raises(ArgumentError, match="expected a positive gain for activation 'x', got 0"):
        register_activation("x", torch.sin, gain=0)
    with pytest.raises(ArgumentError, match=r"to be elementwise, a tensor \(2, 3\) -> \(2, 3\), got \(2,\)"):
        register_activation("x", lambda z: z.sum(1))
    with pytest.raises(ArgumentError, match=r"to be elementwise, .* got float"):
        register_activation("x", lambda z: float(z.sum()))  # type: ignore[arg-type, return-value]
    for number in range(128):
        register_activation(f"f{number}", torch.sin)
    with pytest.raises(UnsupportedOperationError, match="at most 128 registered activations are supported, 'x'"):
        register_activation("x", torch.sin)


def test_the_walk_announces_compilation_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    if not has_numba():
        pytest.skip("numba is not installed")
    from pathlib import Path

    from deepgraph.kernels import numba_walk

    numba_walk.announce.cache_clear()
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))
    kernel = NumbaWalk(random_topology(0, 6, 3, 0.5, [1]))
    t = kernel.topology
    for _ in range(2):
        kernel.forward(torch.zeros(1, len(t.inputs)), [torch.zeros(t.num_edges)], torch.zeros(t.num_computed))
    assert [record.message for record in caplog.records if record.name == "deepgraph.kernels"] == [
        "deepgraph: compiling kernels with numba, a few seconds, the first time only"
    ]
