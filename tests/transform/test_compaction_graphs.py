"""Compaction through the channel graph: branches, groups, several readers, layers that are called twice."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812

from deepgraph.errors import EditRefusedError
from deepgraph.transform import compact


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def random_norms(model):
    """Give norms statistics that are not the identity; return the model in eval mode and double precision."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model.double().eval()


def same_function(model, small, x):
    with torch.no_grad():
        expected = model(x)
        assert torch.allclose(small(x), expected, atol=1e-9 * max(1.0, float(expected.abs().max())))


def silence(layer, channels):
    """Make channels of a layer say nothing: neither weights nor a bias."""
    with torch.no_grad():
        layer.weight[channels] = 0
        if layer.bias is not None:
            layer.bias[channels] = 0


class Block(nn.Module):
    """A residual block with a depthwise convolution in the middle, as in MobileNet."""

    def __init__(self, width, inner):
        super().__init__()
        self.up, self.norm = nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.depth, self.depth_norm = nn.Conv2d(inner, inner, 3, padding=1, groups=inner), nn.BatchNorm2d(inner)
        self.down, self.last = nn.Conv2d(inner, width, 1), nn.BatchNorm2d(width)

    def forward(self, x):
        y = F.relu6(self.norm(self.up(x)))
        y = F.relu(self.depth_norm(self.depth(y)), inplace=True)
        return F.relu(x + self.last(self.down(y)))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 5, 3, padding=1)
        self.blocks = nn.Sequential(Block(5, 6), Block(5, 4))
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        return self.fc(self.blocks(F.relu(self.stem(x))).mean((2, 3)))


def test_a_residual_net_loses_a_channel_in_all_branches_or_in_none():
    torch.manual_seed(0)
    model = random_norms(ResNet())
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    for norm in (model.blocks[0].last, model.blocks[1].last):
        silence(norm, [1, 3])
    silence(model.stem, [1])
    # The third channel of the stem still speaks: the sums keep it.
    small = compact(model, x)
    same_function(model, small, torch.randn(4, 2, 6, 6, dtype=torch.float64))
    assert [layer.weight.shape[0] for layer in (small.stem, small.blocks[0].down, small.blocks[1].last)] == [4, 4, 4]
    assert small.fc.in_features == small.blocks[0].up.in_channels == 4
    silence(model.stem, [3])
    small = compact(model, x)
    same_function(model, small, x)
    assert (small.stem.out_channels, small.blocks[0].down.out_channels, small.fc.in_features) == (3, 3, 3)


def test_depthwise_convolutions_lose_their_groups():
    torch.manual_seed(1)
    model = random_norms(ResNet())
    block = model.blocks[0]
    # Dead on the way in, in the middle, and on the way out.
    silence(block.norm, [0])
    silence(block.depth_norm, [2])
    with torch.no_grad():
        block.down.weight[:, 4] = 0
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    small = compact(model, x).blocks[0]
    # The first says its bias after the depthwise convolution, at the borders too: a constant that goes into `down`.
    assert (small.up.out_channels, small.depth.groups, small.depth.in_channels, small.down.in_channels) == (3, 3, 3, 3)
    assert tuple(small.depth.weight.shape) == (3, 1, 3, 3)
    assert small.depth_norm.num_features == 3
    same_function(model, compact(model, x), torch.randn(4, 2, 6, 6, dtype=torch.float64))


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in (2, 5, 8))
        self.convs = nn.ModuleList(nn.Conv2d(width, 3, 3, padding=1, bias=False) for width in (2, 5, 8))
        self.head = nn.Linear(11 * 4, 3)

    def forward(self, x):
        features = [x]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            features.append(conv(F.relu(norm(torch.cat(features, 1)))))
        return self.head(F.avg_pool2d(torch.cat(features, 1), 2).flatten(1))


def test_a_dense_net_loses_a_channel_in_all_of_its_readers():
    torch.manual_seed(2)
    model = random_norms(Dense())
    silence(model.convs[0], [1])
    # What the norms say for it must be 0: their readers pad with zeros.
    for norm in (model.norms[1], model.norms[2]):
        with torch.no_grad():
            norm.running_mean[3] = 0.5
            norm.weight[3], norm.bias[3] = 1, -1
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    small = compact(model, x)
    same_function(model, small, torch.randn(5, 2, 4, 4, dtype=torch.float64))
    assert [conv.in_channels for conv in small.convs] == [2, 4, 7]
    assert [norm.num_features for norm in small.norms] == [2, 4, 7]
    assert (small.convs[0].out_channels, small.head.in_features) == (2, 10 * 4)
    # Something else than 0 at a border that is padded cannot go into a bias: the channel stays.
    model.norms[2].bias.data[3] = 2
    assert compact(model, x).convs[0].out_channels == 3


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.deep = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1, padding_mode="reflect")
        self.up = nn.ConvTranspose2d(5, 4, 2, stride=2)
        self.mix, self.out = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        high = F.relu(self.down(x))
        low = F.relu(self.deep(F.max_pool2d(high, 2)))
        return self.out(torch.tanh(self.mix(torch.cat([F.relu(self.up(low)), high], 1))))


def test_a_u_net_keeps_what_any_path_reads():
    torch.manual_seed(3)
    model = UNet().double()
    x = torch.randn(2, 1, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        model.mix.weight[:, 4:6] = 0
        model.deep.weight[:, 1] = 0
        model.up.weight[:, 2] = 0
        model.up.bias[2] = -1
        model.up.weight[3] = 0
    small = compact(model, x)
    same_function(model, small, torch.randn(3, 1, 8, 8, dtype=torch.float64))
    # Of the two that the skip no longer reads one is also read below.
    assert (small.down.out_channels, small.deep.in_channels, small.mix.in_channels) == (3, 3, 6)
    assert (small.up.out_channels, small.up.in_channels, small.deep.out_channels) == (3, 4, 4)


def test_constants_of_reflecting_and_unpadded_convolutions_go_into_biases():
    model = nn.Sequential(
        nn.Conv1d(1, 3, 1), nn.Sigmoid(), nn.Conv1d(3, 2, 3, padding=1, padding_mode="reflect", bias=False), nn.ReLU(),
        nn.ConvTranspose1d(2, 2, 3, stride=2), nn.Flatten(), nn.Linear(2 * 11, 2),
    ).double()  # fmt: skip
    silence(model[0], [1])
    model[0].bias.data[1] = 2
    silence(model[4], [])
    x = torch.randn(2, 1, 5, dtype=torch.float64)
    small = compact(model, x)
    assert (small[0].out_channels, small[2].in_channels) == (2, 2)
    assert torch.allclose(small[2].bias, torch.sigmoid(torch.tensor(2.0)) * model[2].weight[:, 1].sum(1))
    same_function(model, small, torch.randn(4, 1, 5, dtype=torch.float64))


class Several(nn.Module):
    """Grouped and transposed grouped convolutions, instance norm, PReLU, a layer called twice, gates."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 6, 1)
        self.grouped, self.back = nn.Conv2d(6, 9, 1, groups=3), nn.ConvTranspose2d(9, 6, 1, groups=3, bias=False)
        self.norm, self.slope = nn.InstanceNorm2d(6), nn.PReLU(6)
        self.twice, self.gate, self.head = nn.Conv2d(6, 6, 1), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = self.slope(self.norm(self.back(F.relu(self.grouped(input=self.first(x))))))
        x = F.relu(self.twice(F.relu(self.twice(x))))
        gate = torch.sigmoid(self.gate(x.mean((2, 3))))
        return self.head((x * gate[:, :, None, None]).amax((2, 3)))


def test_grouped_convolutions_lose_whole_groups_and_shared_layers_what_both_calls_do_not_need():
    torch.manual_seed(4)
    model = Several().double()
    x = torch.randn(2, 1, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        model.back.weight[3:6] = 0
        model.twice.weight[2:4] = 0
        model.twice.bias[2:4] = 0
        model.twice.weight[:, 2:4] = 0
        model.head.weight[:, 2:4] = 0
    small = compact(model, x)
    same_function(model, small, torch.randn(4, 1, 4, 4, dtype=torch.float64))
    assert (small.grouped.groups, small.grouped.in_channels, small.grouped.out_channels) == (2, 4, 6)
    assert (small.back.groups, small.back.in_channels, small.back.out_channels) == (2, 6, 4)
    assert (small.first.out_channels, small.norm.num_features, small.slope.num_parameters) == (4, 4, 4)
    # The gate still writes to the two, and reads them: of what they are multiplied with nothing is left.
    assert tuple(small.twice.weight.shape) == (4, 4, 1, 1)
    assert small.head.in_features == small.gate.out_features == 4
    half = copy.deepcopy(model)
    half.head.weight.data.normal_()
    half.twice.weight.data[3, 0] = 1
    same_function(half, compact(half, x), x)


class Held(nn.Module):
    """Layers before operations that have constants per channel, or that mix channels in a way of their own."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)
        self.scale, self.mix = nn.Parameter(torch.rand(4)), nn.Linear(4, 4, bias=False)
        self.norm, self.cell = nn.LayerNorm(4), nn.GRUCell(4, 4)

    def forward(self, x):
        x = self.a(x)
        if self.how == "scale":
            x = x * self.scale
        elif self.how == "shift":
            x = x + torch.arange(4.0, dtype=x.dtype)
        elif self.how == "weight":
            x = F.linear(x, self.mix.weight)
        elif self.how == "norm":
            x = self.norm(x)
        elif self.how == "cell":
            x = self.cell(x)
        elif self.how == "softmax":
            x = x.softmax(1)
        elif self.how == "mean":
            x = x - x.mean(1, keepdim=True)
        elif self.how == "product":
            x = x[:, None] @ (x[:, :, None] * x[:, None])
            x = x[:, 0]
        elif self.how == "pad":
            x = x + F.pad(x[:, :3], (0, 1))
        elif self.how == "zero":
            x = x + 0 * torch.tanh(x)
        elif self.how == "broadcast":
            x = x * x[:, :1]
        return self.b(x)


@pytest.mark.parametrize(
    "how", ["scale", "shift", "weight", "norm", "cell", "softmax", "mean", "product", "pad", "broadcast"]
)
def test_what_mixes_channels_keeps_them(how):
    model = Held(how).double()
    silence(model.a, [3])
    model.b.weight.data[:, 3] = 0
    x = torch.randn(4, 3, dtype=torch.float64)
    small = compact(model, x)
    assert small.a.out_features == (3 if how == "broadcast" else 4)
    same_function(model, small, x)


def test_a_factor_of_zero_still_couples():
    model = Held("zero").double()
    silence(model.a, [3])
    x = torch.randn(4, 3, dtype=torch.float64)
    assert compact(model, x).a.out_features == 3


def test_tied_weights_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.word, self.body, self.out = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False)
            self.out.weight = self.word.weight

        def forward(self, ids):
            return self.out(torch.tanh(self.body(self.word(ids))))

    model = Tied()
    with torch.no_grad():
        model.word.weight[:, 2] = 0
        model.body.weight[2] = 0
        model.body.bias[2] = 0
    ids = torch.tensor([[1, 3, 5], [2, 2, 0]])
    small = compact(model, ids)
    assert small.out.weight is small.word.weight
    assert (small.word.embedding_dim, small.out.in_features, small.body.in_features) == (3, 3, 3)
    assert torch.allclose(small(ids), model(ids), atol=1e-6)
    functional = copy.deepcopy(model)
    functional.forward = lambda ids: F.linear(functional.body(functional.word(ids)), functional.word.weight)
    assert compact(functional, ids).word.embedding_dim == 4


class Written(nn.Module):
    """Written for a fixed number of channels."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.a, self.b = nn.Conv1d(1, 4, 1), nn.Linear(8, 2)

    def forward(self, x):
        x = self.a(x)
        x = x.view(-1, 8) if self.how == "view" else torch.cat([x[:, 2:4], x[:, 0:2]], 1).flatten(1)
        return self.b(x)


def test_models_for_a_fixed_number_of_channels_are_refused_by_name():
    x = torch.randn(2, 1, 2)
    for how, message in (
        ("view", r"expected a compact model that runs, got RuntimeError in the model \(Written\): shape '\[-1, 8\]'"),
        ("slice", r"a difference of .* that starts in module 'b' \(Linear\): the model orders its channels"),
    ):
        model = Written(how)
        silence(model.a, [0])
        with pytest.raises(EditRefusedError, match=message):
            compact(model, x)


STEPS = ["conv", "depthwise", "grouped", "norm", "act", "pool", "keep", "add", "cat", "up"]


class Generated(nn.Module):
    """A random network of the steps on (B, 2, 4, 4), with random dead channels."""

    def __init__(self, steps, share, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.steps, self.layers, width, kept = [], nn.ModuleList(), 2, 2
        for step in steps:
            layer = nn.Identity()
            if step == "conv":
                made = int(torch.randint(1, 6, ()))
                layer = nn.Conv2d(width, made, 3, padding=1, bias=bool(made % 2))
            elif step == "depthwise":
                layer = nn.Conv2d(width, width, 3, padding=1, groups=width)
            elif step == "grouped" and width % 2 == 0:
                layer = nn.Conv2d(width, 4, 1, groups=2)
            elif step == "norm":
                layer = nn.BatchNorm2d(width)
            elif step == "up":
                layer = nn.ConvTranspose2d(width, 3, 3, padding=1)
            elif step == "act":
                layer = [nn.ReLU(), nn.Tanh(), nn.PReLU(width)][int(torch.randint(3, ()))]
            elif step == "keep":
                kept = width
            elif step == "add" and kept != width:
                step = "act"
            elif step == "cat":
                width += kept
            self.steps.append(step)
            self.layers.append(layer)
            width = getattr(layer, "out_channels", width)
        self.head = nn.Linear(4 * width, 2)
        random_norms(self)
        for layer in (*self.layers, self.head):
            for tensor in layer.parameters():
                for dim in range(min(2, tensor.ndim)):
                    dead = torch.rand(tensor.shape[dim]) < share
                    tensor.data[(slice(None),) * dim + (dead,)] = 0

    def forward(self, x):
        kept = x
        for step, layer in zip(self.steps, self.layers, strict=True):
            x = layer(x)
            if step == "pool":
                x = F.max_pool2d(x, 3, 1, 1)
            elif step == "keep":
                kept = x
            elif step == "add":
                x = x + kept
            elif step == "cat":
                x = torch.cat([x, kept], 1)
        return self.head(F.avg_pool2d(x, 2).flatten(1))


@given(
    steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=9), share=st.floats(0, 0.7), seed=st.integers(0, 9999)
)
@settings(max_examples=60, deadline=None)
def test_generated_nets_keep_their_function_and_shrink_once(steps, share, seed):
    model = Generated(steps, share, seed)
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    small = compact(model, x)
    same_function(model, small, torch.randn(3, 2, 4, 4, dtype=torch.float64))
    assert count(small) <= count(model) + sum(layer.out_channels for layer in model.layers if hasattr(layer, "groups"))
    again = compact(small, x)
    assert count(again) <= count(small)
