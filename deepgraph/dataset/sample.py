"""The bundled sample of Fashion-MNIST: 2,000 training and 1,000 test images, so that everything runs without a network.

`examples/make_sample.py` wrote the file from the IDX files of the full set; `fashion_mnist_sample.txt` beside it
holds the licence (MIT) and its notice.
"""

from __future__ import annotations

import hashlib
import io
from functools import cache
from importlib.resources import files

import numpy as np

from deepgraph.dataset.images import Images, Split
from deepgraph.errors import FileFormatError

__all__ = ["CLASSES", "fashion_mnist_sample"]

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_FILE = "fashion_mnist_sample.npz"
_SHA256 = "30d43c0ffdaab75b12c319b6c430ea843632e343bcf71fcad2d09ac9783a3b66"


@cache
def fashion_mnist_sample() -> Split:
    """The first 2,000 training and the first 1,000 test images of Fashion-MNIST.

    The file comes with the package and its checksum is verified; it is read once per process.

    Returns
    -------
    Split
        `train` with images (2000, 28, 28) and `test` with images (1000, 28, 28), uint8, ten classes.

    Raises
    ------
    FileFormatError
        If the bundled file is not the one that this version was published with.

    References
    ----------
    .. [1] H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
       algorithms", 2017, arXiv:1708.07747.

    Examples
    --------
    >>> split = fashion_mnist_sample()
    >>> split
    Split('Fashion-MNIST sample', train=2000, test=1000, shape=(28, 28), classes=10)
    >>> [split.classes[label] for label in split.train.labels[:3]]
    ['Ankle boot', 'T-shirt/top', 'T-shirt/top']
    """
    raw = files("deepgraph.dataset").joinpath(_FILE).read_bytes()
    return _parse(raw)


def _parse(raw: bytes) -> Split:
    """The split in the bytes of the bundled file, whose checksum is verified first."""
    found = hashlib.sha256(raw).hexdigest()
    if found != _SHA256:
        raise FileFormatError(
            f"{_FILE}: expected sha256 {_SHA256[:12]}... for the bundled sample, got {found[:12]}... "
            f"({len(raw):,} bytes); the installation is damaged: reinstall deepgraph-nn"
        )
    with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
        train = Images(arrays["x_train"], arrays["y_train"], CLASSES)
        test = Images(arrays["x_test"], arrays["y_test"], CLASSES)
    return Split(train, test, name="Fashion-MNIST sample")
