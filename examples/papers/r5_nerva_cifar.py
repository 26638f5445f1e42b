"""R5: static sparse training of the MLP 3072-1024-512-10 on CIFAR-10 at densities 10 %, 5 % and 1 % (Nerva, 2024).

ERK densities; random crops of images padded by 4 reflected pixels and random flips, channels normalised; batch 100, SGD
with Nesterov momentum 0.9, learning rate 0.03 (0.1 at 1 %): the first 10 of 100 epochs, of which the 50th and the 75th
would be the first to lower it. Two programs wrote the published logs. Nerva itself starts weights at U(-a, a) with
a^2 = 1 / n_in, n_in that of the dense layer, and biases at 0; in its first versions an update of the biases takes the
biases where their gradients belong, so that they stay 0: networks without biases, as here. The authors' PyTorch program
starts weights and biases likewise, by PyTorch's own rule, and draws the mask twice, after the weights: the logs count
0.06 % of all weights at the start of a run at 1 %. Other starts are run too: biases that learn with Xavier's rule for
the dense layer, with Xavier's rule for the true fan-in, and with PyTorch's rule masked once. One more case times
training steps at 1 % in the two storages, in turns. The short form trains 200 steps at 1 %.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from experiment import Experiment, Run, Target, main
from loop import Data, digest, num_edges, seeded, sgd, start_as_dense, steps_down, train

import deepgraph as dg
from deepgraph.dataset import fashion_mnist_sample
from deepgraph.sparse.values import edge_values

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@dataclass(frozen=True)
class Pictures:
    """Training images (N, C, H + 8, W + 8) of uint8, padded; test images as rows."""

    padded: np.ndarray
    y: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor
    name: str

    def augmented(self, seed: int):
        """Return a function from rows (B,) to images (B, I): cropped and flipped at random."""
        draw, size = np.random.default_rng(seed), self.padded.shape[2] - 8

        def batch(rows: torch.Tensor) -> torch.Tensor:
            corners, flips = draw.integers(0, 9, (len(rows), 2)).tolist(), draw.random(len(rows)) < 0.5
            images = np.stack([
                self.padded[row, :, i : i + size, j : j + size]
                for row, (i, j) in zip(rows.tolist(), corners, strict=True)
            ])  # fmt: skip
            images[flips] = images[flips, :, :, ::-1]
            return normalised(images)

        return batch


def normalised(images: np.ndarray) -> torch.Tensor:
    """Return images (N, C, H, W) of uint8 as rows (N, I) of float32, each channel by its mean and deviation."""
    channels = images.shape[1]
    mean, deviation = (torch.tensor(values[:channels]).view(1, -1, 1, 1) for values in (MEAN, DEVIATION))
    return torch.from_numpy(images).float().div_(255).sub_(mean).div_(deviation).flatten(1)


def read_pictures(folder: Path) -> Pictures:
    """Return CIFAR-10 from `folder/cifar10/cifar10.npz`, or the bundled sample where it is missing."""
    path = folder / "cifar10" / "cifar10.npz"
    if path.is_file():
        with np.load(path) as arrays:
            x, y, x_test, y_test = (arrays[key] for key in ("x_train", "y_train", "x_test", "y_test"))
        name = "cifar10"
    else:
        split = fashion_mnist_sample()
        x, y, x_test, y_test = (
            split.train.images[..., None], split.train.labels, split.test.images[..., None], split.test.labels,
        )  # fmt: skip
        name = split.name
    x, x_test = (np.ascontiguousarray(images.transpose(0, 3, 1, 2)) for images in (x, x_test))
    padded = np.pad(x, ((0, 0), (0, 0), (4, 4), (4, 4)), mode="reflect")
    labels = (torch.from_numpy(values.astype(np.int64)) for values in (y, y_test))
    y, y_test = labels
    return Pictures(padded, y, normalised(x_test), y_test, name)


def network(settings: dict[str, Any], width: int, seed: int, storage: str = "csr") -> dg.MaskedDeepFFN:
    """Return the MLP."""
    start = settings["init"]
    model = dg.MaskedDeepFFN(
        width, 10, [1024, 512], density=settings["density"], distribution="erk", bias=start != "nerva",
        init="xavier" if start == "xavier" else "torch", storage=storage, seed=seed,
    )  # fmt: skip
    if start == "dense xavier":
        start_as_dense(model, seed)
    if start.startswith("torch"):
        draw = seeded(seed)
        for values, layer in zip(edge_values(model), model.layers, strict=True):
            edges = values.edge_set
            with torch.no_grad():
                bias: Any = layer.bias
                bias.uniform_(-1, 1, generator=draw).div_(math.sqrt(edges.num_sources))
            if start.endswith("twice"):
                values.set_values(values.values() * (torch.rand(edges.num_edges, generator=draw) < edges.density))
    return model


def run(settings: dict[str, Any], seed: int, data: Pictures) -> Run:
    """Train one network, or time the storages."""
    if "rounds" in settings:
        return timed(settings, seed, data)
    steps, epochs = settings.get("steps"), settings["epochs"]
    batches = data.augmented(seed)
    if steps:
        data = replace(data, y=data.y[: 100 * steps])
    per_epoch = len(data.y) // 100
    model = network(settings, data.x_test.shape[1], seed)
    optimizer = sgd(model)
    curve = train(
        model, dg.train_step(model, "cross_entropy", optimizer), optimizer, cast("Data", data), epochs=epochs,
        batch=100, seed=seed, rate=steps_down(settings["lr"], 0.1, 50 * per_epoch, 75 * per_epoch), batches=batches,
        label=f"r5 {settings['density']:.0%} {settings['init']}",
    )  # fmt: skip
    return {"accuracy": curve[-1], "curve": curve, "edges": num_edges(model), "digest": digest(model)}


def timed(settings: dict[str, Any], seed: int, data: Pictures) -> Run:
    """Return how long training steps of batch 100 take in csr as a share of those in masked, in turns."""
    x, y = data.x_test[:100], data.y_test[:100]
    times: dict[str, list[float]] = {"csr": [], "masked": []}
    steps, models = {}, {}
    for storage in times:
        models[storage] = network(settings, x.shape[1], seed, storage)
        steps[storage] = dg.train_step(models[storage], "cross_entropy", sgd(models[storage]))
    for turn in range(settings["rounds"] + 3):
        for storage, step in steps.items():
            begin = time.perf_counter()
            step(x, y)
            if turn >= 3:
                times[storage].append(time.perf_counter() - begin)
    csr, masked = (1e3 * float(np.median(times[storage])) for storage in ("csr", "masked"))
    return {"share": csr / masked, "ms_csr": csr, "ms_masked": masked, "digest": digest(models["csr"])}


def case(density: float, lr: float, init: str = "xavier", **more: Any) -> dict[str, Any]:
    """Return the settings of a case."""
    return {"density": density, "lr": lr, "init": init, "epochs": 10, "padding": "reflect"} | more


TIMED = {"density": 0.01, "init": "xavier", "rounds": 50}


def checks(runs, real: bool) -> list[tuple[str, bool]]:
    """Return what the short form shows."""
    found, share = runs["1 %"]["0"], runs["time"]["0"]["share"]
    least = 25 if real else 50
    return [
        (f"{sum(found['edges'])} edges, layer by layer {found['edges']}", found["edges"][0] > found["edges"][2]),
        (f"{found['accuracy']:.1f} % at 1 % after 200 steps (at least {least})", found["accuracy"] >= least),
        (f"a step in csr takes {share:.3f} of one in masked (at most 0.5 here)", share <= 0.5),
    ]


EXPERIMENT = Experiment(
    name="r5",
    title="static MLP 3072-1024-512-10 on CIFAR-10 with ERK densities",
    source="Nerva, 2024, arXiv 2407.17437",
    cases={
        "10 %": case(0.1, 0.03, "nerva"), "5 %": case(0.05, 0.03, "nerva"), "1 %": case(0.01, 0.1, "nerva"),
        "1 % true fan-in": case(0.01, 0.1),
        "1 % torch, masked twice": case(0.01, 0.1, "torch, biases too, masked twice"),
        "1 % torch": case(0.01, 0.1, "torch, biases too"),
        "10 % dense Xavier": case(0.1, 0.03, "dense xavier"), "5 % dense Xavier": case(0.05, 0.03, "dense xavier"),
        "10 % true fan-in": case(0.1, 0.03), "5 % true fan-in": case(0.05, 0.03), "time": TIMED,
    },
    short={"1 %": case(0.01, 0.1, steps=200) | {"epochs": 1}, "time": TIMED | {"rounds": 10}},
    run=run,
    data=read_pictures,
    needs="cifar10",
    seeds=5,
    targets=[
        Target("10 % of the weights, accuracy after 10 epochs (%)", "10 %", "accuracy", 53.6, 1.5,
               headline="static MLP on CIFAR-10, 10 % of the weights, 10 epochs, accuracy (%)"),
        Target("5 %", "5 %", "accuracy", 53.0, 1.5),
        Target("1 %", "1 %", "accuracy", 48.8, 1.5,
               headline="static MLP on CIFAR-10, 1 % of the weights, 10 epochs, accuracy (%)"),
        Target("1 %, Xavier by true fan-in, with biases", "1 % true fan-in", "accuracy", 48.8, 1.5),
        Target("1 %, PyTorch's start, mask drawn twice", "1 % torch, masked twice", "accuracy", 45.7, 1.5),
        Target("1 %, PyTorch's start, mask drawn once", "1 % torch"),
        Target("10 %, Xavier for the dense layer, with biases", "10 % dense Xavier"),
        Target("5 %, Xavier for the dense layer, with biases", "5 % dense Xavier"),
        Target("10 %, Xavier by true fan-in, with biases", "10 % true fan-in"),
        Target("5 %, Xavier by true fan-in, with biases", "5 % true fan-in"),
        Target("time of a step in csr, as a share of masked, at 1 %", "time", "share", 1 / 3, kind="at most"),
    ],
    checks=checks,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
