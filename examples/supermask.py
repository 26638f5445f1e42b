"""Learn which weights of a random network to keep: ASLP, supermask or edge-popup on LeNet, Conv2, Conv4 or Conv6.

python examples/supermask.py --network LeNet --strategy supermask --prune-and-test

Data: CIFAR-10 (cifar-10-batches-bin or cifar10.npz) or MNIST-like IDX files in --data-path, else the bundled sample.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from deepgraph.dataset import fashion_mnist_sample, read_cifar10, read_idx_folder
from deepgraph.errors import ArgumentError
from deepgraph.supermask import add_masks, mask_density, mask_optimizer, prune_masked

WIDTHS = {"Conv2": [64], "Conv4": [64, 128], "Conv6": [64, 128, 256]}


def network(name: str, shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """LeNet-300-100 of Zhou et al., or a VGG-like network: two convolutions and a pooling per width, three layers."""
    channels, height, width = shape
    parts: list[nn.Module] = []
    for out in WIDTHS.get(name, []):
        parts += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(), nn.Conv2d(out, out, 3, padding=1), nn.ReLU()]
        parts.append(nn.MaxPool2d(2))
        channels, height, width = out, height // 2, width // 2
    hidden = (300, 100) if name == "LeNet" else (256, 256)
    sizes = [channels * height * width, *hidden, classes]
    parts.append(nn.Flatten())
    for k in range(3):
        parts += [nn.Linear(sizes[k], sizes[k + 1])] + [nn.ReLU()] * (k < 2)
    for part in parts:
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            # These weights stay: drawn as torch does, for training, signals would die out on their way.
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            nn.init.zeros_(part.bias)
    return nn.Sequential(*parts)


def load(path: Path) -> tuple[str, list[tuple[Tensor, Tensor]]]:
    """Name and (images (N, C, H, W), labels (N,)) of training and test set."""
    split = fashion_mnist_sample()
    for read in (read_cifar10, read_idx_folder):
        # What is in the folder decides; a damaged file is an error, none at all is not.
        with contextlib.suppress(ArgumentError):
            split = read(path)
            break
    pixels = [torch.tensor(part.images) for part in (split.train, split.test)]
    images = [x.permute(0, 3, 1, 2) if x.dim() == 4 else x[:, None] for x in pixels]
    whole = images[0].float()
    # The black around digits stays 0: a constant would add up over pixels that say nothing, as far as masks are fixed.
    mean = whole.mean((0, 2, 3), keepdim=True) if whole.shape[1] > 1 else torch.zeros(1)
    std = whole.std((0, 2, 3), keepdim=True)
    labels = [torch.tensor(part.labels) for part in (split.train, split.test)]
    return split.name, [((x.float() - mean) / std, y) for x, y in zip(images, labels, strict=True)]


def augmented(x: Tensor) -> Tensor:
    """Images shifted by up to 4 pixels and mirrored half the time, each by its own draw."""
    size = x.shape[2:]
    x = torch.where(torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5, x.flip(3), x)
    rows, columns = (torch.randint(9, (len(x), 1), device=x.device) + torch.arange(n, device=x.device) for n in size)
    padded = functional.pad(x, (4, 4, 4, 4)).permute(0, 2, 3, 1)
    at = torch.arange(len(x), device=x.device)[:, None, None]
    return padded[at, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of right answers of the fixed mask, in [0, 1]."""
    model.eval()
    return sum(int((model(a).argmax(1) == b).sum()) for a, b in zip(x.split(1000), y.split(1000), strict=True)) / len(y)


class Log:
    """TensorBoard where it is installed, and nothing where it is not."""

    def __init__(self, name: str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.writer: Any = SummaryWriter(f"tb_logs/{name}")
        except ImportError:
            self.writer = None

    def __call__(self, step: int, **numbers: float) -> None:
        for name, value in numbers.items() if self.writer is not None else ():
            self.writer.add_scalar(name, value, step)


def train(model: nn.Module, data: tuple[Tensor, Tensor], args: argparse.Namespace) -> float:
    """Train the masks; leave the best of all epochs in the model and return its accuracy on the validation part."""
    x, y = (part.to(args.device) for part in data)
    order = torch.randperm(len(x)).to(args.device)
    held, kept = order[: len(x) // 10], order[len(x) // 10 :]
    optimizer, log = mask_optimizer(model, args.lr, args.momentum), Log(args.name)
    best, state, waited = -1.0, copy.deepcopy(model.state_dict()), 0
    bar = tqdm(range(args.epochs), desc=args.strategy, disable=None)
    for epoch in bar:
        model.train()
        for rows in kept[torch.randperm(len(kept)).to(args.device)].split(args.batch_size):
            batch = augmented(x[rows]) if args.augment else x[rows]
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(batch), y[rows])
            loss.backward()
            optimizer.step()
        found = accuracy(model, x[held], y[held])
        log(epoch, loss=loss.item(), validation=found, density=mask_density(model))
        bar.set_postfix(loss=f"{loss.item():.3f}", validation=f"{found:.3f}")
        waited = 0 if found > best else waited + 1
        if found > best:
            best, state = found, copy.deepcopy(model.state_dict())
        if waited >= args.patience:
            break
    model.load_state_dict(state)
    return best


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, with the defaults of Dupont et al."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lr", type=float, default=50)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--strategy", default="ASLP", choices=["ASLP", "supermask", "edge-popup"])
    parser.add_argument("--weight-rescale", action="store_true")
    parser.add_argument("--signed-constant", action="store_true")
    parser.add_argument("--network", default="Conv4", choices=["LeNet", *WIDTHS])
    parser.add_argument("--name", default="Experiment", help="of the run, for TensorBoard")
    parser.add_argument("--data-path", type=Path, default=Path())
    parser.add_argument("--prune-and-test", action="store_true")
    parser.add_argument("--no-data-augmentation", "--no-data-augment", dest="augment", action="store_false")
    parser.add_argument("--sparsity", type=float, default=0.5, help="of edge-popup")
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--patience", type=int, default=100, help="epochs without a better validation accuracy")
    parser.add_argument("--samples", type=int, help="train and test on the first ones only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--checkpoint", type=Path, help="where the best model goes")
    return parser.parse_args(arguments)


def main() -> None:
    """Train, and print one line of JSON."""
    args = parse()
    torch.manual_seed(args.seed)
    name, ((x, y), (x_test, y_test)) = load(args.data_path)
    x, y, x_test, y_test = (part[: args.samples] for part in (x, y, x_test, y_test))
    model = network(args.network, tuple(x.shape[1:]), int(y.max()) + 1).to(args.device)
    add_masks(
        model, args.strategy, weight_rescale=args.weight_rescale, signed_constant=args.signed_constant,
        sparsity=args.sparsity, seed=args.seed,
    )  # fmt: skip
    result: dict[str, Any] = {"data": name, "network": args.network, "strategy": args.strategy, "name": args.name}
    result["validation"] = train(model, (x, y), args)
    result["density"] = mask_density(model)
    if args.checkpoint is not None:
        torch.save(model.state_dict(), args.checkpoint)
    if args.prune_and_test:
        result["test"] = accuracy(prune_masked(model), x_test.to(args.device), y_test.to(args.device))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
