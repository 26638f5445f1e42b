"""Data to train on: the bundled Fashion-MNIST sample, readers of IDX files and CIFAR-10, data sets from a function.

Importing this package imports neither torch nor the data; both come with the first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepgraph.dataset.cifar import read_cifar10
    from deepgraph.dataset.functions import FuncDataset
    from deepgraph.dataset.idx import read_idx, read_idx_folder
    from deepgraph.dataset.images import Images, Split
    from deepgraph.dataset.sample import fashion_mnist_sample

__all__ = ["FuncDataset", "Images", "Split", "fashion_mnist_sample", "read_cifar10", "read_idx", "read_idx_folder"]

_MODULE_OF = {
    "FuncDataset": "deepgraph.dataset.functions",
    "Images": "deepgraph.dataset.images",
    "Split": "deepgraph.dataset.images",
    "fashion_mnist_sample": "deepgraph.dataset.sample",
    "read_cifar10": "deepgraph.dataset.cifar",
    "read_idx": "deepgraph.dataset.idx",
    "read_idx_folder": "deepgraph.dataset.idx",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
