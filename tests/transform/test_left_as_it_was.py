"""The model is bit-identical after everything that only reads it, also after an error."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm

from deepgraph.errors import EditRefusedError, UnsupportedOperationError
from deepgraph.sparse import MaskedDeepFFN
from deepgraph.transform import GraphTransform, apply_edits, compact, estimate, extract


class Restless(nn.Module):
    """Changes buffers, plain attributes and random states on every forward pass."""

    def __init__(self, inner, fail):
        super().__init__()
        self.inner, self.fail = inner, fail
        self.drop = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(2, 2), persistent=False)
        self.seen = torch.zeros(3)

    def forward(self, x):
        self.calls += 1
        self.last = torch.ones(2, 2)
        self.seen = x.detach().clone()
        torch.rand(2), np.random.rand(), random.random()
        x = self.drop(self.inner(x))
        return torch.cumprod(x, 1) if self.fail else x


def mlp():
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


def conv():
    return nn.Sequential(
        nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 2, 3, padding=1), nn.BatchNorm1d(2), nn.MaxPool1d(2), nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip


def pruned():
    model = mlp()
    prune.l1_unstructured(model[0], "weight", 0.5)
    return model


def normed():
    model = mlp()
    parametrizations.spectral_norm(model[0])
    parametrizations.weight_norm(model[3])
    return model


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def old_norm():
    return nn.Sequential(weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3))


def recurrent():
    class Cells(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells = nn.GRU(2, 3, batch_first=True)

        def forward(self, x):
            return self.cells(x.view(len(x), 2, 2))[0][:, -1]

    return Cells()


def masked():
    return MaskedDeepFFN(4, 3, [5], density=0.5, seed=0)


def written_back():
    model = mlp()
    graph = extract(model, torch.randn(1, 4))
    graph.remove_edge(0, 4)
    return apply_edits(model, graph)


MODELS = [mlp, conv, pruned, normed, old_norm, recurrent, masked, written_back]


def everything(model):
    """Return all state of a model and of the process that a trace could touch, as comparable values."""
    tensors = {}
    for path, module in model.named_modules():
        plain = {name: value for name, value in vars(module).items() if isinstance(value, torch.Tensor)}
        for name, value in (*module._parameters.items(), *module._buffers.items(), *plain.items()):
            if value is not None:
                held = value.detach()
                tensors[path, name] = (id(value), held.data_ptr(), held.numpy().tobytes(), value._version >= 0)
    hooks = {
        (path, name): list(value)
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if "hooks" in name and value is not None and hasattr(value, "keys")
    }
    return {
        "tensors": tensors,
        "modes": [module.training for module in model.modules()],
        "hooks": hooks,
        "attributes": {path: sorted(vars(module)) for path, module in model.named_modules()},
        "classes": [type(module) for module in model.modules()],
        "grad": [(parameter.requires_grad, parameter.grad is None) for parameter in model.parameters()],
        "random": (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()),
        "switches": (
            torch.is_grad_enabled(),
            torch.backends.mha.get_fastpath_enabled(),
            torch._C._get_mkldnn_enabled(),
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
        ),
        "global hooks": (
            list(nn.modules.module._global_forward_hooks),
            list(nn.modules.module._global_forward_pre_hooks),
        ),
        "parametrized": [torch.nn.utils.parametrize.is_parametrized(module) for module in model.modules()],
    }


READERS = {
    "order 0": lambda model, x: extract(model, x),
    "order 1": lambda model, x: extract(model, x, order=1),
    "order 2": lambda model, x: extract(model, x, order=2),
    "estimate": lambda model, x: estimate(model, x),
    "functor": lambda model, x: GraphTransform(x).transform(model),
    "compact": lambda model, x: compact(model, x),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("fail", [False, True])
def test_nothing_has_changed(make, reader, fail):
    torch.manual_seed(0)
    model = Restless(make(), fail)
    model.inner.eval()
    model.drop.train()
    hook = model.drop.register_forward_hook(lambda *_: None)
    x = torch.randn(3, 4)
    kept = x.clone()
    before = everything(model)
    if fail and reader != "order 2":
        with pytest.raises(UnsupportedOperationError, match="aten::cumprod"):
            READERS[reader](model, x)
    else:
        READERS[reader](model, x)
    after = everything(model)
    for part in before:
        assert after[part] == before[part], part
    assert torch.equal(x, kept)
    hook.remove()


def test_a_refused_edit_changes_nothing():
    model = mlp()
    graph = extract(model, torch.randn(1, 4))
    graph.add_edge(0, len(graph) - 1, weight=1.0)
    before = everything(model)
    with pytest.raises(EditRefusedError, match="that were added"):
        apply_edits(model, graph)
    assert everything(model) == before
