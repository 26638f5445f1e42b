"""A randomly wired convolutional network: nodes of a small-world graph are convolutions that add up their inputs.

    python examples/rand_wire.py [--data-path ~/.cache/deepgraph/fashion-mnist] [--epochs 3]

After Xie, Kirillov, Girshick & He, "Exploring Randomly Wired Neural Networks for Image Recognition", ICCV 2019: each
node sums its inputs with learned positive weights, then ReLU, a separable 3 x 3 convolution, batch normalisation. Here
it is one stage for small images, not their four. Data: CIFAR-10 or IDX files in --data-path, or the bundled sample.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any

import networkx as nx
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

import deepgraph as dg
from deepgraph.dataset import fashion_mnist_sample, read_cifar10, read_idx_folder
from deepgraph.errors import ArgumentError
from deepgraph.sparse import DeepCellDAN


def load(path: Path) -> tuple[str, list[Tensor]]:
    """Name of the data, and x (N, C, H, W) and y (N,) of training and test set."""
    split = fashion_mnist_sample()
    for read in (read_cifar10, read_idx_folder):
        with contextlib.suppress(ArgumentError):
            split = read(path.expanduser())
            break
    x, y, x_test, y_test = split.tensors()
    x, x_test = (part.permute(0, 3, 1, 2) if part.dim() == 4 else part[:, None] for part in (x, x_test))
    return split.name, [x, y, x_test, y_test]


def network(nodes: int, neighbours: int, p: float, channels: int, inputs: int, seed: int) -> DeepCellDAN:
    """The network of a small-world graph whose edges run along a random order of its nodes."""
    ring = nx.connected_watts_strogatz_graph(nodes, neighbours, p, tries=1000, seed=seed)
    graph = dg.from_networkx(ring, seed=seed)

    def cell(is_input: bool, input_channel_size: int, **where: Any) -> nn.Module:
        if is_input:
            start = nn.Conv2d(input_channel_size, channels, 3, stride=2, padding=1, bias=False)
            return nn.Sequential(start, nn.BatchNorm2d(channels))
        depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        return nn.Sequential(nn.ReLU(), depthwise, pointwise, nn.BatchNorm2d(channels))

    return DeepCellDAN(10, inputs, cell, graph, cell_channels=channels, join="weighted_sum")


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of right answers."""
    model.eval()
    return sum(int((model(a).argmax(1) == b).sum()) for a, b in zip(x.split(500), y.split(500), strict=True)) / len(y)


def main() -> None:
    """Train, and print the accuracy after each epoch."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-path", type=Path, default=Path("~/.cache/deepgraph/fashion-mnist"))
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--neighbours", type=int, default=4)
    parser.add_argument("--p", type=float, default=0.75, help="of rewiring an edge of the ring")
    parser.add_argument("--channels", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--samples", type=int, default=10000, help="train on the first ones only")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    name, (x, y, x_test, y_test) = load(args.data_path)
    x, y = x[: args.samples], y[: args.samples]
    torch.manual_seed(args.seed)
    model = network(args.nodes, args.neighbours, args.p, args.channels, x.shape[1], args.seed)
    graph, weights = model.graph, sum(p.numel() for p in model.parameters())
    print(f"{name}: {len(x):,} images; {len(graph)} cells in {graph.num_layers} layers, "
          f"{graph.number_of_edges()} edges, {weights:,} parameters")  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), args.lr)
    for epoch in range(args.epochs):
        model.train()
        for rows in tqdm(torch.randperm(len(x)).split(args.batch_size), desc=f"epoch {epoch + 1}", disable=None):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: test accuracy {100 * accuracy(model, x_test, y_test):.1f} %")


if __name__ == "__main__":
    main()
