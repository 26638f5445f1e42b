"""Law 4, and law 3 where it holds, on random models that mix the families of operations."""

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812

from deepgraph.transform import estimate, extract


def convolution(width, choice):
    groups = width if choice % 3 == 0 else 1
    mode = ["zeros", "reflect", "replicate", "circular"][choice % 4]
    return nn.Conv2d(width, width, 3, 1 + choice % 2, 1 + choice % 5 // 4, groups=groups, padding_mode=mode)


def dilated(width, choice):
    return nn.Conv2d(width, 1 + choice % 3, 2, dilation=2, padding=1, bias=choice % 2 == 0)


def transposed(width, choice):
    return nn.ConvTranspose2d(width, 2, 3, stride=1 + choice % 2, padding=1, output_padding=choice % 2)


def batch_norm(width, choice):
    norm = nn.BatchNorm2d(width)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    nn.init.normal_(norm.weight)
    return norm


class Attention(nn.Module):
    """Over places, causal or not."""

    def __init__(self, width, choice):
        super().__init__()
        self.maps, self.causal = nn.Linear(width, 3 * width), choice % 2 == 0

    def forward(self, x):
        query, key, value = self.maps(x.flatten(2).transpose(1, 2)).chunk(3, -1)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return mixed.transpose(1, 2).reshape(x.shape)


class Recurrent(nn.Module):
    """Along the first row, a cell per place."""

    def __init__(self, width, choice):
        super().__init__()
        self.cell = [nn.GRU, nn.LSTM, nn.RNN][choice % 3](width, width, batch_first=True)

    def forward(self, x):
        return torch.cat([self.cell(x[:, :, 0].transpose(1, 2))[0].transpose(1, 2)[:, :, None], x[:, :, 1:]], 2)


class Gate(nn.Module):
    """Squeeze and excite."""

    def __init__(self, width, choice):
        super().__init__()
        self.gate = nn.Linear(width, width)

    def forward(self, x):
        return x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]


class Einsum(nn.Module):
    def __init__(self, width, choice):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width, 2))

    def forward(self, x):
        return torch.einsum("bchw,cdk->bdhw", x, self.weight) / 2


class Function(nn.Module):
    """A step without parameters."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    def forward(self, x):
        return self.run(x)


def written(x):
    x = x.clone(memory_format=torch.contiguous_format)
    x[:, 0, ::2] *= 0.5
    x.view(len(x), -1)[:, -1] = x[:, 0, 0, 0]
    return x


def step_of(run):
    return lambda width, choice: Function(run)


SMOOTH = {
    "convolution": convolution,
    "dilated": dilated,
    "transposed": transposed,
    "batch norm": batch_norm,
    "attention": Attention,
    "recurrent": Recurrent,
    "gate": Gate,
    "einsum": Einsum,
    "tanh": step_of(lambda x: torch.tanh(x / 2)),
    "residual": step_of(lambda x: x + 0.7 * torch.sigmoid(x)),
    "cat": step_of(lambda x: torch.cat([x, F.softplus(x[:, :1])], 1)),
    "average": step_of(lambda x: F.avg_pool2d(x, 2, 1, 1)),
    "adaptive": step_of(lambda x: F.adaptive_avg_pool2d(x, (3, 2))),
    "resize": step_of(lambda x: F.interpolate(x, size=(3, 5), mode="bilinear")),
    "pad": step_of(lambda x: F.pad(x, (1, 0, 0, 1), mode="replicate")),
    "roll": step_of(lambda x: x.roll(1, 2).flip(3)),
    "written": step_of(written),
}
OTHER = {
    "relu": step_of(F.relu),
    "max pool": step_of(lambda x: F.max_pool2d(x, 2, 2, 1)),
    "adaptive max": step_of(lambda x: F.adaptive_max_pool2d(x, 3)),
    "maxout": step_of(lambda x: torch.maximum(x, x.flip(1))),
    "instance norm": lambda width, choice: nn.InstanceNorm2d(width, affine=True),
    "group norm": lambda width, choice: nn.GroupNorm(1, width),
    "layer norm": step_of(lambda x: F.layer_norm(x, x.shape[2:])),
    "rms norm": step_of(lambda x: F.rms_norm(x, x.shape[1:])),
    "product": step_of(lambda x: x * x.mean(1, keepdim=True)),
    "softmax": step_of(lambda x: x.softmax(3)),
    "masked": step_of(lambda x: x.masked_fill(torch.eye(x.shape[2], x.shape[3], dtype=torch.bool), 0.5)),
    "index": step_of(lambda x: x[:, torch.arange(x.shape[1]).flip(0)][..., [0, -1]]),
    "stack": step_of(lambda x: torch.stack(x.split(1, 1), 1).flatten(1, 2)),
    "clamp": step_of(lambda x: x.clamp(-1, 1)),
    "matmul": step_of(lambda x: x @ x.transpose(2, 3)),
}


class Mixed(nn.Module):
    """A random model on (B, 2, 4, 4)."""

    def __init__(self, names, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.steps = nn.ModuleList()
        x = torch.zeros(1, 2, 4, 4)
        for name in names:
            step = (SMOOTH | OTHER)[name](x.shape[1], int(torch.randint(100, ())))
            x = step.eval()(x)
            self.steps.append(step)
        self.double().eval()

    def forward(self, x):
        for step in self.steps:
            # torch's batch norm misplaces gradients where its input or they are not contiguous, as those of einsum.
            x = step(x.contiguous() if isinstance(step, nn.BatchNorm2d) else x)
            if x.requires_grad:
                x.register_hook(torch.Tensor.contiguous)
        return x


def build(names, seed):
    """Return a model and an input; skip what its own steps refuse, such as padding wider than the image."""
    try:
        model = Mixed(names, seed)
    except (RuntimeError, ValueError):
        assume(False)
    return model, torch.randn(1, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def jacobian_of(model, x):
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return torch.autograd.functional.jacobian(model, x).reshape(-1, x.numel()).numpy()


@given(
    names=st.lists(st.sampled_from([*SMOOTH, *OTHER]), min_size=2, max_size=5),
    seed=st.integers(0, 9999),
    fuse=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_the_trace_of_mixed_models_is_honest_and_exact_where_it_says_so(evaluate, reach, names, seed, fuse):
    model, x = build(names, seed)
    graph = extract(model, x, fuse=fuse)
    assert not (np.isfinite(found := jacobian_of(model, x)) & (found != 0) & ~reach(graph)).any()
    assert graph.number_of_edges() <= estimate(model, x).edges
    inexact = {"attention", "instance norm", "group norm", "layer norm", "rms norm", "softmax"}
    assert graph.graph["exact"] == inexact.isdisjoint(names), graph.graph["inexact"]
    if graph.graph["exact"]:
        other = torch.randn(5, 2, 4, 4, dtype=torch.float64)
        expected = model(other).detach()
        assert np.allclose(evaluate(graph, other), expected, atol=1e-9 * max(1.0, float(expected.abs().max())))


@given(names=st.lists(st.sampled_from(list(SMOOTH)), min_size=1, max_size=4), seed=st.integers(0, 9999))
@settings(max_examples=40, deadline=None)
def test_reachability_is_the_support_of_the_jacobian_where_nothing_cancels(reach, names, seed):
    model, x = build(names, seed)
    found = jacobian_of(model, x)
    assert np.array_equal(found != 0, reach(extract(model, x)))
