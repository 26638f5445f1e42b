"""Dynamic sparse training of any model in a plain PyTorch loop, in one process or in several.

    python examples/dynamic_sparse.py [--method RigL] [--sparsity 0.9]
    torchrun --nproc-per-node 2 examples/dynamic_sparse.py

Three lines make the difference to an ordinary loop: `sparsify_model`, the optimizer around the optimizer, and
`hook.remove()` for each hook in the end. Under torchrun each process takes its part of the batches; all of them drop
and grow the same weights, by gradients summed over the processes.
"""

from __future__ import annotations

import argparse
import os

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import deepgraph as dg
from deepgraph.integrations.fastai import erdos_renyi_sparsity, sparsify_model

METHODS = {"SET": dg.SET, "SNFS": dg.SNFS, "RigL": dg.RigL, "fixed": dg.Static}


def main() -> None:
    """Train, and print accuracy, the share of weights that are off, and how many were replaced."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--method", choices=METHODS, default="RigL")
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--every", type=int, default=50, help="steps between edits")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1:
        torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank() if ranks > 1 else 0

    x, y, x_test, y_test = dg.dataset.fashion_mnist_sample().tensors()
    x, x_test = x[:, None], x_test[:, None]
    torch.manual_seed(args.seed)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 36, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip

    hooks = sparsify_model(model, args.sparsity, sparse_f=erdos_renyi_sparsity, seed=args.seed)
    trained = DistributedDataParallel(model) if ranks > 1 else model
    inner = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    schedule = {} if args.method == "fixed" else {"every": args.every, "until": 3 * args.steps // 4, "seed": args.seed}
    optimizer = METHODS[args.method](trained, inner, **schedule)

    batches = torch.Generator().manual_seed(args.seed)
    for _ in range(args.steps):
        rows = torch.randint(len(x), (128,), generator=batches)[rank::ranks]
        optimizer.zero_grad()
        nn.functional.cross_entropy(trained(x[rows]), y[rows]).backward()
        optimizer.step()

    replaced = sum(edit.num_grown for edit in optimizer.history)
    with torch.no_grad():
        right = (model(x_test).argmax(1) == y_test).float().mean().item()
    for hook in hooks:
        hook.remove()
    if rank == 0:
        weights = [p for p in model.parameters() if p.dim() > 1]
        off = 1 - sum(int(p.count_nonzero()) for p in weights) / sum(p.numel() for p in weights)
        print(f"{args.method}, {ranks} process{'es' * (ranks > 1)}: test accuracy {100 * right:.1f} %, "
              f"{100 * off:.1f} % of the weights are off, {replaced:,} were replaced")  # fmt: skip
    if ranks > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
