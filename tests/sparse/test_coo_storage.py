"""Storage coo: the same modules, results, state and edits as csr, by torch's gather and add."""

import copy

import numpy as np
import pytest
import torch

import deepgraph as dg
from deepgraph.kernels.torch_walk import TorchWalk
from deepgraph.sparse import edge_values


def graph():
    g = dg.priors.random_layered([6, 9, 7, 3], 0.6, seed=0, skip=1)
    g.set_node_column("reduce", np.array(["sum"] * 10 + ["max"] * 2 + ["prod"] + ["sum"] * 12))
    return g


MODELS = {
    "ffn": lambda s: dg.MaskedDeepFFN(6, 3, [8, 7], density=0.4, storage=s, seed=0, dtype=torch.float64),
    "graph": lambda s: dg.MaskedDeepDAN.from_graph(graph(), storage=s, seed=0, dtype=torch.float64),
    "stem and head": lambda s: dg.MaskedDeepDAN(6, 3, graph(), storage=s, seed=0, dtype=torch.float64),
    "linear": lambda s: dg.SparseLinear(6, 3, 0.5, storage=s, seed=0, dtype=torch.float64),
}


@pytest.mark.parametrize("kind", MODELS)
def test_coo_gives_what_csr_gives_also_after_edits_and_copies(kind):
    csr, coo = MODELS[kind]("csr"), MODELS[kind]("coo")
    parts = coo.plan.parts
    assert {part.storage for part in parts} == {"coo"}
    assert all(isinstance(engine.program().kernel, TorchWalk) for engine in coo._engines.values())
    x = torch.randn(5, 6, dtype=torch.float64)
    for _ in range(2):
        results = []
        for model in (csr, copy.deepcopy(coo)):
            model.zero_grad()
            y = model(x)
            y.square().sum().backward()
            results.append([y.detach(), *(p.grad for p in model.parameters()), *model.state_dict().values()])
        for got, wanted in zip(*results, strict=True):
            torch.testing.assert_close(got, wanted)
        for model in (csr, coo):
            edges = edge_values(model)[0].edge_set
            src, dst = edges.pairs()
            edges.edit(drop=(src[:2], dst[:2]))
    again = type(coo).from_config(coo.config())
    again.load_state_dict(coo.state_dict())
    assert again.plan.parts[0].storage == "coo"
    torch.testing.assert_close(again(x), csr(x))


def test_coo_takes_any_dtype():
    model = dg.MaskedDeepFFN(6, 3, [8], density=0.4, storage="coo", seed=0, dtype=torch.bfloat16)
    assert model(torch.ones(2, 6, dtype=torch.bfloat16)).dtype == torch.bfloat16
