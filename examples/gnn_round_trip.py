"""A small graph neural network reads many small networks, predicts their accuracy, and proposes one that is trained.

    python examples/gnn_round_trip.py [--graphs 96] [--seeds 10]

1. Random structures of one cost (the same number of inputs, outputs, hidden neurons and edges) are compiled, trained
   and read back with `dg.extract`: their accuracy is the label of the extracted graph.
2. A graph neural network in plain PyTorch (messages along the edges and against them, sums over graphs) learns to
   predict accuracy from structure; a part of the graphs tells how well, by rank correlation.
3. It ranks new structures: random ones, and the best of them again with edges moved. The first is compiled and trained,
   with new seeds, against the structure in the middle of its ranking of random ones and against the best one that was
   measured. Differences are paired by seed, with their 95 % interval; inside the interval nobody wins.

With torch_geometric installed, the graphs also go through `to_pyg` and `from_pyg`, and come back the same.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

import deepgraph as dg
from deepgraph.analysis import paired_difference

INPUTS, HIDDEN, OUTPUTS, EDGES = 49, 40, 10, 260


def random_structure(rng: np.random.Generator) -> dg.CachedLayeredGraph:
    """Hidden neurons in one to five layers of random widths; edges by a random taste for skips and for hubs."""
    layers = int(rng.integers(1, 6))
    stage = np.concatenate([np.zeros(INPUTS, int), np.sort(rng.integers(1, layers + 1, HIDDEN)),
                            np.full(OUTPUTS, layers + 1)])  # fmt: skip
    u, v = np.nonzero(stage[:, None] < stage[None, :])
    skip, hubs = rng.uniform(0, 2), rng.uniform(0, 1.5)
    taste = np.exp(-skip * (stage[v] - stage[u] - 1)) * (rng.pareto(2, len(stage)) + 0.1)[u] ** hubs
    chosen = rng.choice(len(u), EDGES, replace=False, p=taste / taste.sum())
    return structure(u[chosen], v[chosen], stage)


def structure(u: np.ndarray, v: np.ndarray, stage: np.ndarray) -> dg.CachedLayeredGraph:
    """The graph of the edges u -> v with declared stages and roles."""
    g = dg.CachedLayeredGraph.from_arrays(u, v, num_nodes=len(stage))
    g.set_node_column("stage", stage.astype(np.int32))
    g.set_node_column("role", np.repeat(["input", "hidden", "output"], [INPUTS, HIDDEN, OUTPUTS]))
    return g


def moved(g: dg.CachedLayeredGraph, rng: np.random.Generator, share: float = 0.15) -> dg.CachedLayeredGraph:
    """A copy with a share of its edges elsewhere, as one edit."""
    copy = g.copy()
    stage, (u, v) = copy.stage_array(), copy.edge_arrays()
    gone = rng.choice(len(u), int(share * len(u)), replace=False)
    free = stage[:, None] < stage[None, :]
    free[u, v] = False
    a, b = np.nonzero(free)
    new = rng.choice(len(a), len(gone), replace=False)
    copy.edit(drop=(u[gone], v[gone]), grow=(a[new], b[new]), reason="moved")
    return copy


def trained(g: dg.CachedLayeredGraph, data: list[Tensor], seed: int, steps: int) -> tuple[nn.Module, float]:
    """The compiled network after training, and its test accuracy."""
    x, y, x_test, y_test = data
    model = dg.MaskedDeepDAN.from_graph(g, seed=seed)
    rng = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(steps):
        rows = torch.randint(len(x), (100,), generator=rng)
        optimizer.zero_grad()
        functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        return model, (model(x_test).argmax(1) == y_test).float().mean().item()


class Reader(nn.Module):
    """Predicts a number from a graph: rounds of messages along edges and against them, then a sum over neurons."""

    def __init__(self, width: int = 32, rounds: int = 4) -> None:
        super().__init__()
        self.start = nn.Linear(6, width)
        self.rounds = nn.ModuleList(nn.Linear(3 * width, width) for _ in range(rounds))
        self.head = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, graphs: list[dg.CachedLayeredGraph]) -> Tensor:
        """Return a prediction (G,) for each of G graphs, read as one disjoint union."""
        size = len(graphs[0])
        edges = [np.stack(g.edge_arrays()).astype(np.int64) + k * size for k, g in enumerate(graphs)]
        src, dst = torch.from_numpy(np.concatenate(edges, axis=1))
        h = torch.relu(self.start(torch.cat([node_features(g) for g in graphs])))
        for mix in self.rounds:
            along = torch.zeros_like(h).index_add(0, dst, h[src]) / 4
            against = torch.zeros_like(h).index_add(0, src, h[dst]) / 4
            h = h + torch.relu(mix(torch.cat([h, along, against], 1)))
        by_graph = h.view(len(graphs), size, -1)
        parts = [by_graph[:, a:b].mean(1) for a, b in ((0, INPUTS), (INPUTS, -OUTPUTS), (size - OUTPUTS, size))]
        prediction: Tensor = self.head(torch.cat(parts, 1))[:, 0]
        return prediction


def node_features(g: dg.CachedLayeredGraph) -> Tensor:
    """Role (3), stage over the last one, log of fan-in and fan-out, (N, 6)."""
    role, stage, (u, v) = g.role_array(), g.stage_array(), g.edge_arrays()
    degrees = [np.log1p(np.bincount(side, minlength=len(g))) for side in (v, u)]
    columns = [role == "input", role == "hidden", role == "output", stage / stage.max(), *degrees]
    return torch.from_numpy(np.stack(columns, 1).astype(np.float32))


def fitted(graphs: list[dg.CachedLayeredGraph], labels: Tensor, seed: int, epochs: int) -> Reader:
    """A reader trained on graphs and their standardised accuracies."""
    torch.manual_seed(seed)
    reader = Reader()
    optimizer = torch.optim.AdamW(reader.parameters(), 3e-3, weight_decay=1e-2)
    for _ in range(epochs):
        optimizer.zero_grad()
        functional.mse_loss(reader(graphs), labels).backward()
        optimizer.step()
    return reader.eval()


def ranking(readers: list[Reader], graphs: list[dg.CachedLayeredGraph]) -> np.ndarray:
    """Mean prediction (G,) of several readers."""
    with torch.no_grad():
        return torch.stack([reader(graphs) for reader in readers]).mean(0).numpy()


def proposal(readers: list[Reader], rng: np.random.Generator) -> tuple[dg.CachedLayeredGraph, dg.CachedLayeredGraph]:
    """The structure that the readers rank first, and the one in the middle of random ones."""
    pool = [random_structure(rng) for _ in range(200)]
    order = np.argsort(ranking(readers, pool))
    middle, best = pool[order[len(order) // 2]], [pool[k] for k in order[-10:]]
    for _ in range(5):
        candidates = best + [moved(g, rng) for g in best for _ in range(9)]
        best = [candidates[k] for k in np.argsort(ranking(readers, candidates))[-10:]]
    return best[-1], middle


def main() -> None:
    """Run the round trip and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--graphs", type=int, default=96)
    parser.add_argument("--steps", type=int, default=150, help="of training a network")
    parser.add_argument("--epochs", type=int, default=150, help="of training a reader")
    parser.add_argument("--seeds", type=int, default=10, help="networks of each structure in the comparison")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    x, y, x_test, y_test = dg.dataset.fashion_mnist_sample().tensors()
    small = [functional.avg_pool2d(part[:, None], 4).flatten(1) for part in (x, x_test)]
    data = [small[0], y, small[1], y_test]

    graphs, accuracies = [], []
    for seed in tqdm(range(args.graphs), desc="networks", disable=None):
        model, accuracy = trained(random_structure(rng), data, args.seed + seed, args.steps)
        graphs.append(dg.extract(model, data[0][:1]))
        accuracies.append(accuracy)
    low, high = 100 * min(accuracies), 100 * max(accuracies)
    print(f"{len(graphs)} networks of {EDGES} edges: accuracy {low:.1f} to {high:.1f} %")
    if find_spec("torch_geometric") is not None:
        again = [dg.CachedLayeredGraph.from_pyg(g.to_pyg()) for g in graphs]
        same = [
            list(a.edges(data="weight")) == list(b.edges(data="weight")) for a, b in zip(graphs, again, strict=True)
        ]
        print(f"through PyG and back: {sum(same)} of {len(same)} the same")

    labels = torch.tensor(accuracies)
    labels = (labels - labels.mean()) / labels.std()
    held = len(graphs) // 4
    reader = fitted(graphs[held:], labels[held:], args.seed, args.epochs)
    rank, chance = spearmanr(ranking([reader], graphs[:held]), labels[:held].numpy())
    print(f"rank correlation on {held} graphs that the reader has not seen: {rank:.2f} (p = {chance:.2g})")

    readers = [fitted(graphs, labels, args.seed + k, args.epochs) for k in range(3)]
    proposed, middle = proposal(readers, rng)
    champion = graphs[int(np.argmax(accuracies))]
    runs = {}
    for name, g in {"proposed": proposed, "middle": middle, "best measured": champion}.items():
        bare = structure(*g.edge_arrays(), g.stage_array())
        runs[name] = [100 * trained(bare, data, 10_000 + k, args.steps)[1] for k in range(args.seeds)]
        print(f"{name}: {np.mean(runs[name]):.1f} % over {args.seeds} new seeds")
    for name in ("middle", "best measured"):
        difference = paired_difference(runs["proposed"], runs[name])
        verdict = {1: "the proposed one wins", 0: "nobody wins", -1: "the proposed one loses"}[difference.sign]
        low, high = difference.low, difference.high
        print(f"proposed - {name}: {difference.mean:+.1f} points, 95 % {low:+.1f} to {high:+.1f}: {verdict}")


if __name__ == "__main__":
    main()
