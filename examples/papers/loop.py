"""Data in memory and the training loop that all experiments share."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

import deepgraph as dg
from deepgraph.dataset import fashion_mnist_sample, read_idx_folder
from deepgraph.sparse.values import edge_values

Step = Callable[[Tensor, Tensor], object]

FOLDER = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "deepgraph"
IDX = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"


@dataclass(frozen=True)
class Data:
    """Images as rows (N, I) of float32 and classes (N,), for training and test."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    name: str

    def first(self, count: int) -> Data:
        """Return the same with the first `count` training images."""
        return replace(self, x=self.x[:count], y=self.y[:count])


def read_images(folder: Path, name: str, *, normalised: bool = False) -> Data:
    """Return MNIST or Fashion-MNIST from `folder/name`, in [0, 1] or with mean 0 and deviation 1 over the training set.

    Where the folder is missing, the sample of Fashion-MNIST that comes with the package takes its place: enough for the
    short forms, which then leave out what only the real data can show. The name "" asks for that sample.
    """
    path, known = folder / name, bool(name) and (folder / name).is_dir()
    split = read_idx_folder(path, name=name) if known else fashion_mnist_sample()
    x, y, x_test, y_test = split.tensors()
    x, x_test = x.flatten(1), x_test.flatten(1)
    if normalised:
        mean, deviation = x.mean(), x.std()
        for images in (x, x_test):
            images.sub_(mean).div_(deviation)
    return Data(x, y, x_test, y_test, name if known else split.name)


def seeded(seed: int) -> torch.Generator:
    """Return a generator of its own."""
    return torch.Generator().manual_seed(seed)


def steps_down(first: float, factor: float, *at: float) -> Callable[[int], float]:
    """Return the learning rate by step: `first`, times `factor` from each of the steps `at` on."""
    return lambda step: first * factor ** sum(step >= each for each in at)


def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the accuracy in percent."""
    training = model.training
    model.eval()
    with torch.no_grad():
        right = sum(
            int((model(part).argmax(1) == label).sum())
            for part, label in zip(x.split(2000), y.split(2000), strict=True)
        )
    model.train(training)
    return 100 * right / len(y)


def train(
    model: nn.Module,
    step: Step,
    optimizer: torch.optim.Optimizer,
    data: Data,
    *,
    epochs: int,
    batch: int,
    seed: int,
    rate: Callable[[int], float],
    each: Callable[[int], None] | None = None,
    batches: Callable[[Tensor], Tensor] | None = None,
    tested: int = 1,
    label: str = "",
) -> list[float]:
    """Train and return the test accuracy in percent after every `tested` epochs; the last entry is that of the end.

    Parameters
    ----------
    step : callable
        (x, y) -> loss, takes one training step, as `dg.train_step` makes it.
    rate : callable
        Learning rate by step, from 0.
    each : callable
        Called after every step with the number of steps so far.
    batches : callable
        Rows (B,) -> images (B, I), for images that are augmented; default those of `data`.
    """
    order, curve, count = seeded(seed), [], 0
    with tqdm(total=epochs * math.ceil(len(data.y) / batch), desc=label, leave=False, disable=None) as bar:
        for epoch in range(1, epochs + 1):
            for rows in torch.randperm(len(data.y), generator=order).split(batch):
                lr = rate(count)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                step(data.x.index_select(0, rows) if batches is None else batches(rows), data.y[rows])
                count += 1
                if each is not None:
                    each(count)
            bar.update(math.ceil(len(data.y) / batch))
            if epoch % tested == 0 or epoch == epochs:
                curve.append(evaluate(model, data.x_test, data.y_test))
                bar.set_postfix_str(f"{curve[-1]:.2f} %")
    return curve


def sgd(
    model: nn.Module, *, momentum: float = 0.9, nesterov: bool = True, decay: float = 0.0, biases: bool = True
) -> torch.optim.Optimizer:
    """Return SGD; weight decay acts on biases too unless told otherwise. The loop sets the learning rate."""
    apart = {id(p) for name, p in model.named_parameters() if name.endswith("bias") and not biases}
    groups = [
        {"params": [p for p in model.parameters() if id(p) not in apart], "weight_decay": decay},
        {"params": [p for p in model.parameters() if id(p) in apart], "weight_decay": 0.0},
    ]
    return dg.SGD([group for group in groups if group["params"]], lr=0.1, momentum=momentum, nesterov=nesterov)


def start_as_dense(model: nn.Module, seed: int) -> None:
    """Draw weights by Xavier's rule for dense layers, U(-a, a) with a^2 = 6 / (n_in + n_out), as TensorFlow does."""
    draw = seeded(seed)
    for values in edge_values(model):
        edges = values.edge_set
        bound = math.sqrt(6 / (edges.num_sources + edges.num_targets))
        values.set_values((torch.rand(edges.num_edges, generator=draw) * 2 - 1) * bound)


def digest(model: nn.Module) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of all edges, weights and biases."""
    sha = hashlib.sha256()
    for key, tensor in model.state_dict().items():
        sha.update(key.encode())
        sha.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
    return sha.hexdigest()[:16]


def num_edges(model: nn.Module) -> list[int]:
    """Return the edges of each edge set."""
    return [values.edge_set.num_edges for values in edge_values(model)]
