"""One small model per operation of the guide that no other file asks for: carried, and with the right support."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations

from deepgraph.transform import extract


class With(nn.Module):
    """A function of x and of parameters that are drawn."""

    def __init__(self, run, *shapes):
        super().__init__()
        self.weights = nn.ParameterList(torch.randn(shape) for shape in shapes)
        self.run = run

    def forward(self, *x):
        return self.run(*x, *self.weights)


class Cell(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cell = kind(2, 3)

    def forward(self, x):
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return torch.cat(state, 1) if isinstance(state, tuple) else state


CASES = {
    "mm": (With(lambda x, w: torch.mm(x, w), (3, 2)), (3,)),
    "mm of the weight": (With(lambda x, w: torch.mm(w, x.t()).t(), (2, 3)), (3,)),
    "addmm": (With(lambda x, b, w: torch.addmm(b, x, w, beta=0.5, alpha=2), (2,), (3, 2)), (3,)),
    "bmm": (With(lambda x, w: torch.bmm(x, w.expand(len(x), -1, -1)), (3, 2)), (2, 3)),
    "matmul": (With(lambda x, w: w @ x, (4, 2)), (2, 3)),
    "mv and dot": (With(lambda x, w: torch.stack([torch.mv(row, w) for row in x]), (3,)), (2, 3)),
    "einsum": (With(lambda x, w: torch.einsum("bij,jko->bkoi", x, w), (3, 2, 2)), (2, 3)),
    "einsum diagonal": (With(lambda x, w: torch.einsum("bii,io->bo", x, w), (3, 2)), (3, 3)),
    "bilinear": (With(lambda x, w: torch.einsum("bi,oij,bj->bo", x, w, x.flip(1)), (2, 3, 3)), (3,)),
    "glu": (With(lambda x, w: F.glu(x @ w), (3, 4)), (3,)),
    "lerp by a gate": (With(lambda x, w: x + torch.sigmoid(x @ w) * (x.flip(1) - x), (3, 3)), (3,)),
    "rnn cell": (Cell(nn.RNNCell), (3, 2)),
    "gru cell": (Cell(nn.GRUCell), (3, 2)),
    "lstm cell": (Cell(nn.LSTMCell), (3, 2)),
    "batch norm 1d": (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), (3,)),
    "batch norm 3d": (nn.Sequential(nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2)), (1, 2, 3, 2)),
    "weight norm": (parametrizations.weight_norm(nn.Linear(3, 2)), (3,)),
    "spectral norm": (parametrizations.spectral_norm(nn.Linear(3, 2)), (3,)),
    "global max": (With(lambda x: x.amax((2, 3))), (2, 2, 2)),
    "global mean": (With(lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1)), (2, 2, 2)),
    "lp pool": (With(lambda x: F.avg_pool1d(x * x, 2)), (1, 4)),
    "circular pad": (With(lambda x: F.pad(x, (1, 2), mode="circular")), (1, 4)),
    "nearest": (With(lambda x: F.interpolate(x, scale_factor=2)), (1, 2, 2)),
    "bicubic": (With(lambda x: F.interpolate(x, size=(5, 4), mode="bicubic")), (1, 4, 4)),
    "trilinear": (With(lambda x: F.interpolate(x, scale_factor=2, mode="trilinear")), (1, 2, 2, 2)),
    "split, unbind, stack": (With(lambda x: torch.stack([a - 2 * a.flip(1) for a in x.split(2, 1)], 2)), (4,)),
    "where and masks": (With(lambda x: torch.where(torch.tensor([True, False, True]), x, 2 * x.flip(1))), (3,)),
    "gather": (With(lambda x: x.gather(1, torch.tensor([[2, 0, 0]]).expand(len(x), -1))), (3,)),
    "two norms of sums": (With(lambda x: x.sum(1, keepdim=True) - x.cumsum(1) + x.mean(1, keepdim=True)), (4,)),
    "min and prod": (With(lambda x: x.amin(1) + x.prod(1)), (3,)),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_carried(evaluate, reach, name):
    torch.manual_seed(0)
    model, shape = CASES[name]
    model = model.double().eval()
    x = torch.randn(4, *shape, dtype=torch.float64)
    graph = extract(model, x)
    assert graph.graph["exact"], graph.graph["inexact"]
    assert np.allclose(evaluate(graph, x), model(x).detach(), atol=1e-9)
    jacobian = torch.autograd.functional.jacobian(model, x[:1]).reshape(-1, x[0].numel()).numpy()
    assert not ((jacobian != 0) & ~reach(graph)).any()
