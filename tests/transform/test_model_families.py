"""Models shaped as people build them, with random weights: structure honest, function carried where nodes can."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from deepgraph.checkpoint import save
from deepgraph.sparse import MaskedDeepDAN
from deepgraph.transform import apply_edits, estimate, extract


def randomise(model):
    """Give batch norms statistics and scales that are not the identity."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model.eval()


class Bottleneck(nn.Module):
    def __init__(self, wide, narrow, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(wide, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True),
            nn.Conv2d(narrow, narrow, 3, stride, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True),
            nn.Conv2d(narrow, 2 * narrow, 1, bias=False), nn.BatchNorm2d(2 * narrow),
        )  # fmt: skip
        self.short = nn.Sequential(nn.Conv2d(wide, 2 * narrow, 1, stride, bias=False), nn.BatchNorm2d(2 * narrow))

    def forward(self, x):
        return F.relu(self.body(x) + self.short(x), inplace=True)


def resnet():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        Bottleneck(4, 2, 1), Bottleneck(4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 3, 3, padding=1)
        self.deep = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
        self.up = nn.ConvTranspose2d(4, 3, 2, stride=2)
        self.mix = nn.Conv2d(9, 2, 3, padding=1)

    def forward(self, x):
        high = F.leaky_relu(self.down(x), 0.2)
        low = F.elu(self.deep(F.max_pool2d(high, 2)))
        wide = F.interpolate(high[:, :, ::2, ::2], scale_factor=2, mode="bilinear")
        return self.mix(torch.cat([self.up(low), high, wide], dim=1))


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in (2, 4, 6))
        self.convs = nn.ModuleList(nn.Conv2d(width, 2, 3, padding=1, bias=False) for width in (2, 4, 6))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        features = [x]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            features.append(conv(F.relu(norm(torch.cat(features, 1)))))
        x = F.avg_pool2d(torch.cat(features, 1), 2)
        return self.head(x.mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cells = kind(2, 3, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.gate = nn.Conv2d(2, 4, 3, groups=2, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = F.silu(self.conv(x))
        return (x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))).amax((2, 3))


class ViT(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 5, width))
        layer = nn.TransformerEncoderLayer(width, 2, 6, batch_first=True, activation="gelu", norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.position
        return self.head(self.norm(self.layers(x))[:, 0])


class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(4, 4, 1) for _ in range(3))
        self.instance, self.group = nn.InstanceNorm1d(4, affine=True), nn.GroupNorm(2, 4)
        self.rms = nn.RMSNorm(4)

    def forward(self, x):
        x = self.instance(self.convs[0](x))
        x = self.group(self.convs[1](x))
        return self.rms(self.convs[2](x).transpose(1, 2))


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.word = nn.Embedding(11, 4, padding_idx=0)
        self.place = nn.Embedding(5, 4)
        self.cell = nn.LSTM(4, 3, batch_first=True)
        self.head = nn.Linear(3, 11)

    def forward(self, ids):
        return self.head(self.cell(self.word(ids) + self.place(torch.arange(ids.shape[1])))[0])


EXACT = {
    "resnet": (resnet, (3, 10, 10)),
    "unet": (UNet, (1, 6, 6)),
    "densenet": (Dense, (2, 4, 4)),
    "lstm": (lambda: Recurrent(nn.LSTM), (3, 2)),
    "gru": (lambda: Recurrent(nn.GRU), (3, 2)),
    "rnn": (lambda: Recurrent(nn.RNN), (3, 2)),
    "squeeze": (SqueezeExcite, (2, 4, 4)),
}
STRUCTURE = {"vit": (ViT, (1, 4, 4)), "norms": (Norms, (4, 3))}


@pytest.mark.parametrize("name", EXACT)
def test_the_function_is_carried_also_compiled(evaluate, name):
    torch.manual_seed(3)
    make, shape = EXACT[name]
    model = randomise(make()).double()
    graph = extract(model, torch.randn(1, *shape, dtype=torch.float64))
    assert graph.graph["exact"], graph.graph["inexact"]
    x = torch.randn(5, *shape, dtype=torch.float64)
    expected = model(x).detach()
    assert np.allclose(evaluate(graph, x), expected, atol=1e-9 * max(1.0, float(expected.abs().max())))
    compiled = MaskedDeepDAN.from_graph(graph, dtype=torch.float64)
    assert torch.allclose(compiled(x.flatten(1)), expected, atol=1e-9 * max(1.0, float(expected.abs().max())))


FRESH = """
import sys
import torch
import deepgraph as dg
torch.set_num_threads(1)
for name, (graph, x, expected) in dg.load(sys.argv[1]).items():
    found = dg.MaskedDeepDAN.from_graph(graph)(x).detach()
    size = torch.linalg.vector_norm(expected, dim=0).clamp(min=1e-3)
    print(name, float((torch.linalg.vector_norm(found - expected, dim=0) / size).max()))
"""


def perturb(model, graph):
    """Change all weights and biases of a graph, edges of one parameter entry alike, and write them into the model."""
    generator = np.random.default_rng(0)
    factor = np.exp(0.2 * generator.normal(size=100_003)).astype(np.float32)
    parameter, entry = graph.column("parameter").astype(np.int64), graph.column("entry").copy()
    change = factor[(parameter * 7919 + entry) % len(factor)]
    listed = graph.graph.get("merged_entries", {"parameter": [], "entry": []})
    summed = set(zip(listed["parameter"], listed["entry"], strict=True))
    kept = [pair in summed for pair in zip(parameter.tolist(), entry.tolist(), strict=True)]
    graph.set_column("weight", graph.column("weight") * np.where((parameter < 0) | kept, np.float32(1), change))
    recorded = graph.graph["written_nodes"]
    step = 0.1 * generator.normal(size=len(graph.graph["entry_edges"]))
    # Of several entries in a bias the first one moves, unless it acts elsewhere too.
    free = ~np.isin(recorded["entry"], graph.graph["used_entries"])
    first = np.full(len(graph), len(step))
    np.minimum.at(first, recorded["node"][free], recorded["entry"][free])
    moves = np.isin(recorded["entry"], first)
    bias = graph.node_column("bias").astype(np.float64)
    np.add.at(bias, recorded["node"][moves], (recorded["factor"] * step[recorded["entry"]])[moves])
    graph.set_node_column("bias", bias.astype(graph.node_column("bias").dtype))
    return apply_edits(model, graph)


def test_saved_and_perturbed_graphs_compute_without_the_code_of_the_model(tmp_path):
    torch.manual_seed(5)
    content = {}
    for name, (make, shape) in EXACT.items():
        model = randomise(make())
        graph = extract(model, torch.randn(1, *shape))
        x = torch.randn(5, *shape)
        before = model(x).detach()
        content[name] = graph.copy(), x.flatten(1), before
        perturb(model, graph)
        after = model(x).detach()
        assert not torch.allclose(before, after, rtol=1e-2)
        content[f"{name}, perturbed"] = graph, x.flatten(1), after
    save(content, tmp_path / "models.dg")
    command = [sys.executable, "-c", FRESH, str(tmp_path / "models.dg")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    errors = {name: float(error) for name, _, error in (line.rpartition(" ") for line in done.stdout.splitlines())}
    assert errors.keys() == content.keys()
    assert {name: error for name, error in errors.items() if error > 1e-5} == {}


@pytest.mark.parametrize("name", [*EXACT, *STRUCTURE])
def test_the_structure_is_honest_at_all_orders(reach, name):
    torch.manual_seed(4)
    make, shape = (EXACT | STRUCTURE)[name]
    model = randomise(make()).double()
    x = torch.randn(1, *shape, dtype=torch.float64)
    graph = extract(model, x)
    jacobian = torch.autograd.functional.jacobian(model, x).reshape(len(graph.graph["outputs"]), -1).numpy()
    assert not ((jacobian != 0) & ~reach(graph)).any()
    assert graph.graph["exact"] == (name in EXACT)
    channels, calls = extract(model, x, order=1), extract(model, x, order=2)
    assert name in ("lstm", "gru", "rnn") or len(calls) < len(channels) < len(graph)
    assert reach(channels).any()
    assert np.isfinite(channels.column("weight")).all()
    assert channels.column("count").min() >= 1
    for order, found in enumerate((graph, channels, calls)):
        size = estimate(model, x, order=order)
        assert found.number_of_edges() <= size.edges
        assert len(found) <= size.nodes


def test_a_channel_of_a_residual_net_is_read_by_all_its_branches():
    graph = extract(randomise(resnet()), torch.randn(1, 3, 10, 10), order=1)
    modules = graph.node_column("module").tolist()
    # Stem, pools, then per block: two narrow layers, and one sum of body and short cut.
    assert [modules.count(name) for name in ("0", "3", "4.body.0", "4.body.3", "4.body.6")] == [4, 4, 2, 2, 4]
    reader = modules.index("4.body.6")
    assert {modules[u] for u in graph.predecessors(reader)} == {"3", "4.body.3"}
    assert math.isclose(graph.number_of_edges(), 12 + 4 + (8 + 4 + 8 + 16) + (12 + 9 + 18 + 24) + 6 + 18)


def test_tokens_are_looked_up(reach):
    model = Language().eval()
    ids = torch.tensor([[3, 0, 7]])
    graph = extract(model, ids)
    assert not graph.graph["exact"]
    assert graph.graph["inexact"] == ["aten::embedding looks up rows by an index"]
    # A token reaches its own result and the later ones.
    found = reach(graph).reshape(3, 11, 3).any(1)
    assert found.tolist() == [[True, False, False], [True, False, False], [True, False, True]]
    names = graph.graph["parameters"]
    rows = graph.column("entry")[graph.column("parameter") == names.index("word.weight")] // 4
    assert sorted(set(rows.tolist())) == [3, 7]
    assert extract(model, ids, threshold=1e-9).number_of_edges() == graph.number_of_edges()
    channels = extract(model, ids, order=1)
    assert len(channels.graph["inputs"]) == 1
    assert channels.column("count").max() == 11 - 1
