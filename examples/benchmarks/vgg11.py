"""VGG11 with a dense, COO or CSR classifier: memory idle and in use, time and accuracy, at several densities.

    python examples/benchmarks/vgg11.py [--width 0.25] [--densities 0.5 0.1 0.02] [--data-path FOLDER]

The network (with batch normalisation, as those for CIFAR-10 have it) is trained dense for some epochs. For each density
the smallest weights of its three Linear layers are zeroed, and one copy in COO and one in CSR format is trained for an
epoch more; "dense" at that density is the COO copy with its zeros stored. Each row is measured in a process of its own:
memory idle is what loading the model adds to the process, in use what a batch adds to that at most, in evaluation and
in a training step (SGD with momentum); times are medians of a batch. Without CIFAR-10 the bundled sample stands in, cut
and padded to 32 x 32, and the table says so.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepgraph.converter import convert_model
from deepgraph.dataset import fashion_mnist_sample, read_cifar10
from deepgraph.errors import ArgumentError
from deepgraph.sparse import SparseLayer

PLAN = [64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0]
"""Channels of each convolution; 0 is a pooling."""
HIDDEN = 4096


def vgg11(width: float, channels: int = 3, classes: int = 10) -> nn.Sequential:
    """VGG11 with batch normalisation for 32 x 32 images, all widths times `width`."""
    parts: list[nn.Module] = []
    for out in PLAN:
        if out == 0:
            parts.append(nn.MaxPool2d(2))
            continue
        wide = max(1, round(width * out))
        parts += [nn.Conv2d(channels, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU()]
        channels = wide
    hidden = max(1, round(width * HIDDEN))
    classifier = [nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*parts, *classifier, nn.Linear(hidden, classes))


def load(path: Path, train: int, test: int) -> tuple[str, list[Tensor]]:
    """Name of the data, and x (N, C, 32, 32) and y (N,) of training and test set."""
    try:
        split = read_cifar10(path)
        x, y, x_test, y_test = split.tensors()
        x, x_test = (part.permute(0, 3, 1, 2) for part in (x, x_test))
    except ArgumentError:
        split = fashion_mnist_sample()
        x, y, x_test, y_test = split.tensors()
        x, x_test = (functional.pad(part[:, None], (2, 2, 2, 2)) for part in (x, x_test))
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    return split.name, [(x[:train] - mean) / std, y[:train], (x_test[:test] - mean) / std, y_test[:test]]


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int, lr: float, batch: int) -> nn.Module:
    """SGD with momentum, and a rate that falls to zero; returns the model."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    steps = epochs * -(-len(x) // batch)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=max(2, steps))
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            scheduler.step()
    return model


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of right answers."""
    model.eval()
    return sum(int((model(a).argmax(1) == b).sum()) for a, b in zip(x.split(250), y.split(250), strict=True)) / len(y)


@torch.no_grad()
def zeroed(model: nn.Module, density: float) -> nn.Module:
    """A copy whose Linear layers keep their largest weights, this share of each."""
    copied = copy.deepcopy(model)
    for layer in copied.modules():
        if isinstance(layer, nn.Linear):
            size = layer.weight.abs().flatten()
            kept = torch.zeros_like(size, dtype=torch.bool)
            kept[size.topk(max(1, round(density * size.numel()))).indices] = True
            layer.weight.mul_(kept.view_as(layer.weight))
    return copied


# -- one row, in a process of its own ---------------------------------------------------------------------------------


def resident() -> float:
    """MB of memory of this process, after what is free went back to the system."""
    gc.collect()
    if platform.system() == "Linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return status("VmRSS")


def status(name: str) -> float:
    """MB of a line of /proc/self/status."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def most(run: Callable[[], object]) -> float:
    """MB that a call adds to this process at most."""
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")
    run()
    return status("VmHWM") - before


def times(run: Callable[[], object], rounds: int) -> float:
    """Median of the processor time of a call, ms; the first ones are left out."""
    taken = []
    for _ in range(rounds + 2):
        start = time.process_time()
        run()
        taken.append(1e3 * (time.process_time() - start))
    return statistics.median(taken[2:])


def measure(folder: Path, storage: str, batch: int, rounds: int) -> dict[str, float]:
    """Numbers of the model in a folder, as `COLUMNS` has them from the fourth on."""
    shape = torch.load(folder / "batch.pt")
    x, y = shape["x"][:batch], shape["y"][:batch]
    # What a first step imports and compiles belongs to no model.
    warm = convert_model(nn.Sequential(nn.Linear(512, 512)), nn.Linear, storage)  # type: ignore[arg-type]
    first = torch.optim.SGD(warm.parameters(), lr=0.1, momentum=0.9)
    functional.cross_entropy(warm(torch.ones(len(x), 512)), y).backward()
    first.step()
    del warm, first
    before = resident()
    model = torch.load(folder / f"{storage}.pt", weights_only=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    idle = resident() - before

    def evaluate() -> None:
        with torch.no_grad():
            model.eval()(x)

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model.train()(x), y).backward()
        optimizer.step()

    # The layers of the classifier alone: convolutions are the same in all rows.
    chosen = [m for m in model if isinstance(m, (nn.Linear, SparseLayer))]
    layers, feed = nn.Sequential(*chosen), [torch.randn(batch, m.in_features) for m in chosen]

    def classify() -> None:
        with torch.no_grad():
            for layer, given in zip(layers, feed, strict=True):
                layer(given)

    found = {"idle": idle, "evaluate": most(evaluate), "train": most(step), "classifier": times(classify, rounds)}
    return {**found, "evaluate_ms": times(evaluate, rounds), "train_ms": times(step, rounds)}


def in_own_process(model: nn.Module, storage: str, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """What `measure` says of a model, from a new process."""
    torch.save(model, folder / f"{storage}.pt")
    command = [sys.executable, __file__, "--measure", str(folder), storage]
    command += ["--batch-size", str(args.batch_size), "--rounds", str(args.rounds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    numbers: dict[str, float] = json.loads(done.stdout)
    return numbers


# -- the report -------------------------------------------------------------------------------------------------------

COLUMNS = ["density", "storage", "accuracy", "idle, MB", "evaluating, MB", "training, MB", "classifier, ms",
           "evaluating, ms", "training, ms"]  # fmt: skip


def report(args: argparse.Namespace) -> tuple[str, list[dict[str, Any]]]:
    """Name of the data and a row for each density and storage."""
    torch.manual_seed(args.seed)
    name, (x, y, x_test, y_test) = load(args.data_path.expanduser(), args.samples, args.test_samples)
    dense = train(vgg11(args.width, x.shape[1]), x, y, args.epochs, args.lr, args.batch_size)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        torch.save({"x": x[: args.batch_size].clone(), "y": y[: args.batch_size].clone()}, folder / "batch.pt")
        for density in [1.0, *args.densities]:
            models: dict[str, nn.Module] = {}
            for storage in ("coo", "csr"):
                torch.manual_seed(args.seed + 1)
                made = convert_model(zeroed(dense, density), nn.Linear, storage)  # type: ignore[arg-type]
                models[storage] = train(made, x, y, args.fine_tune * (density < 1), args.lr / 5, args.batch_size)
            models = {"dense": convert_model(models["coo"], SparseLayer, "dense"), **models}
            for storage, model in models.items():
                row = {"density": density, "storage": storage, "accuracy": accuracy(model, x_test, y_test)}
                rows.append({**row, **in_own_process(model, storage, folder, args)})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return name, rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for row in rows:
        cells = [f"{row['density']:g}", row["storage"], f"{100 * row['accuracy']:.1f} %"]
        cells += [f"{row[key]:.1f}" for key in ("idle", "evaluate", "train")]
        cells += [f"{row[key]:.2f}" for key in ("classifier", "evaluate_ms", "train_ms")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=float, default=0.25, help="factor of all widths; 1 is VGG11 (default 0.25)")
    parser.add_argument("--densities", type=float, nargs="+", default=[0.5, 0.1, 0.02], help="of the Linear layers")
    parser.add_argument("--epochs", type=int, default=4, help="of dense training")
    parser.add_argument("--fine-tune", type=int, default=1, help="epochs at each density")
    parser.add_argument("--samples", type=int, default=5000, help="training images")
    parser.add_argument("--test-samples", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=7, help="batches that are timed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-path", type=Path, default=Path("~/.cache/deepgraph/cifar10"))
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    parser.add_argument("--quick", action="store_true", help="a very narrow network, 200 images, one density")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "STORAGE"), help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.quick:
        args.width, args.epochs, args.samples, args.test_samples, args.rounds = 1 / 16, 1, 200, 100, 2
        args.densities = args.densities[:1]
    return args


def main() -> None:
    """Print the table, or the numbers of one row."""
    args = parse()
    torch.set_num_threads(1)
    if args.measure:
        print(json.dumps(measure(Path(args.measure[0]), args.measure[1], args.batch_size, args.rounds)))
        return
    name, rows = report(args)
    print(f"VGG11 x {args.width:g}, {name}, batches of {args.batch_size}, one thread, torch {torch.__version__}\n")
    print(markdown(rows))
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
