"""Training of one method on labelled images, with a record of what happened."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from deepgraph.dataset import Split
from deepgraph.demo.accuracy import Accuracy
from deepgraph.demo.methods import Method
from deepgraph.demo.settings import Settings
from deepgraph.errors import StructureError
from deepgraph.sparse import GraphModule

__all__ = ["Data", "Run", "train"]


@dataclass(frozen=True)
class Data:
    """Images as flat rows with mean 0 and variance 1 over the training set, and their classes.

    Parameters
    ----------
    x, y : (N, I) float tensor, (N,) tensor
        Training images and their classes.
    x_test, y_test : (M, I) float tensor, (M,) tensor
        Test images, scaled by mean and variance of the training set.
    num_classes : int
    shape : tuple of int
        Of an image before it was made a row.
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    num_classes: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, split: Split, images: int | None) -> Data:
        """Return the first `images` training images of a split and half as many test images; None takes all.

        Examples
        --------
        >>> from deepgraph.dataset import fashion_mnist_sample
        >>> data = Data.of(fashion_mnist_sample(), 100)
        >>> data.x.shape, data.x_test.shape, round(abs(float(data.x.mean())), 3)
        (torch.Size([100, 784]), torch.Size([50, 784]), 0.0)
        """
        x, y, x_test, y_test = split.tensors()
        if images is not None:
            x, y, x_test, y_test = x[:images], y[:images], x_test[: images // 2], y_test[: images // 2]
        mean, deviation = x.mean(), x.std()
        x, x_test = ((images - mean) / deviation for images in (x.flatten(1), x_test.flatten(1)))
        return cls(x, y, x_test, y_test, len(split.classes), split.shape)


@dataclass
class Run:
    """What training one method gave.

    Parameters
    ----------
    method : Method
    model : nn.Module
        Trained, or as far as it came.
    steps, accuracies, losses : list
        After each epoch: steps so far, accuracy on the test set, mean loss over the epoch.
    edits, edges_replaced : int
        Steps that changed edges, and edges dropped by them.
    seconds : float
        Training alone, evaluation left out.
    """

    method: Method
    model: nn.Module
    steps: list[int] = field(default_factory=list)
    accuracies: list[Accuracy] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    edits: int = 0
    edges_replaced: int = 0
    seconds: float = 0.0

    @property
    def accuracy(self) -> Accuracy:
        """The accuracy after the last epoch."""
        return self.accuracies[-1]

    @property
    def sparse_model(self) -> GraphModule:
        """The model, for those that ask for its graph; StructureError if it is dense and has none."""
        if not isinstance(self.model, GraphModule):
            raise StructureError(f"expected a model with a graph, got {self.method.label}; take a sparse method")
        return self.model

    @property
    def num_edges(self) -> int:
        """Connections: edges of a sparse model, weights of a dense one."""
        if isinstance(self.model, GraphModule):
            return self.model.num_edges
        return sum(layer.weight.numel() for layer in self.model.modules() if isinstance(layer, nn.Linear))

    @property
    def density(self) -> float:
        """Edges over admissible pairs, in (0, 1]; 1 of a dense model."""
        return self.model.density if isinstance(self.model, GraphModule) else 1.0

    def curve(self) -> dict[str, list[float]]:
        """Return steps, test accuracies in [0, 1] and losses, by epoch."""
        shares = [accuracy.share for accuracy in self.accuracies]
        return {"step": [float(step) for step in self.steps], "accuracy": shares, "loss": self.losses}

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain data."""
        low, high = self.accuracy.interval
        return {
            "label": self.method.label,
            "accuracy": self.accuracy.share,
            "interval": [low, high],
            "right": self.accuracy.right,
            "images": self.accuracy.total,
            "edges": self.num_edges,
            "density": self.density,
            "steps": self.steps[-1],
            "edits": self.edits,
            "edges_replaced": self.edges_replaced,
            "train_seconds": self.seconds,
            "curve": self.curve(),
        }


def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> Accuracy:
    """Return the accuracy of a model on images x (N, I) of classes y (N,).

    Examples
    --------
    >>> evaluate(nn.Identity(), torch.eye(3), torch.tensor([0, 1, 0])).right
    2
    """
    model.eval()
    with torch.no_grad():
        parts = zip(torch.split(x, 1000), torch.split(y, 1000), strict=True)
        right = sum(int((model(part).argmax(dim=1) == label).sum()) for part, label in parts)
    model.train()
    return Accuracy(right, len(y))


def train(
    method: Method, data: Data, settings: Settings, seed: int, keep: Callable[[Run], None] = lambda run: None
) -> Run:
    """Return the record of training one method; every method sees the same batches in the same order.

    The learning rate falls to 0 along half a cosine, so that the last epoch does not decide by chance.

    Parameters
    ----------
    method : Method
    data : Data
    settings : Settings
        Epochs and batch size.
    seed : int
        Of the order of the images.
    keep : callable
        Called with the record after every epoch, so that an interruption loses no more than one.
    """
    model, optimizer = method.build()
    run = Run(method, model)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
    order = np.random.default_rng(seed)
    steps_per_epoch = math.ceil(len(data.x) / settings.batch)
    with tqdm(
        total=settings.epochs * steps_per_epoch, desc=method.label, unit="step", leave=False, disable=None
    ) as bar:
        for _ in range(settings.epochs):
            rows = torch.from_numpy(order.permutation(len(data.x)))
            begin = perf_counter()
            run.losses.append(_epoch(run, optimizer, data, rows, settings.batch, bar))
            run.seconds += perf_counter() - begin
            schedule.step()
            run.steps.append((run.steps[-1] if run.steps else 0) + steps_per_epoch)
            run.accuracies.append(evaluate(model, data.x_test, data.y_test))
            bar.set_postfix_str(f"test accuracy {run.accuracy.share:.1%}")
            keep(run)
    return run


def _epoch(run: Run, optimizer: torch.optim.Optimizer, data: Data, rows: Tensor, batch: int, bar: tqdm[Any]) -> float:
    """Train on the images `rows` (N,) once and return the mean loss."""
    total = 0.0
    log = getattr(optimizer, "log", ())
    for chosen in torch.split(rows, batch):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(run.model(data.x[chosen]), data.y[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += float(loss.detach()) * len(chosen)
        bar.update()
    run.edits = sum(row["dropped"] > 0 for row in log)
    run.edges_replaced = sum(row["dropped"] for row in log)
    return total / len(rows)
