"""A reader of CIFAR-10: the binary files of its authors, or one `.npz` file with four arrays."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepgraph.dataset.images import Images, Split
from deepgraph.errors import ArgumentError, FileFormatError

__all__ = ["CIFAR10_CLASSES", "read_cifar10"]

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The name of each label."""

_BINARY = "cifar-10-batches-bin"
_TRAIN = tuple(f"data_batch_{k}.bin" for k in range(1, 6))
_TEST = ("test_batch.bin",)
_RECORD = 1 + 3 * 32 * 32
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def read_cifar10(path: str | os.PathLike[str]) -> Split:
    """The training and test set of CIFAR-10 [1]_, images (N, 32, 32, 3).

    Parameters
    ----------
    path : path
        A folder that holds `cifar-10-batches-bin` or is it, with the files `data_batch_1.bin` to `data_batch_5.bin` and
        `test_batch.bin`; or a folder with `cifar10.npz`, or that file: arrays `x_train` (N, 32, 32, 3) uint8,
        `y_train` (N,), `x_test`, `y_test`. The file is opened without pickles.

    Returns
    -------
    Split

    Raises
    ------
    ArgumentError
        If there is neither.
    FileFormatError
        If a file is missing or damaged.

    References
    ----------
    .. [1] A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, chapter 3.

    Examples
    --------
    >>> read_cifar10("no/such/folder")
    Traceback (most recent call last):
        ...
    deepgraph.errors.ArgumentError: expected cifar-10-batches-bin or cifar10.npz in 'no/such/folder', found neither
    """
    place = Path(path)
    if place.is_file():
        return _from_npz(place)
    if (place / "cifar10.npz").is_file():
        return _from_npz(place / "cifar10.npz")
    folder = place / _BINARY if (place / _BINARY).is_dir() else place
    if not (folder / _TRAIN[0]).is_file():
        raise ArgumentError(f"expected {_BINARY} or cifar10.npz in {str(path)!r}, found neither")
    return Split(_from_binary(folder, _TRAIN), _from_binary(folder, _TEST), name="CIFAR-10")


def _from_binary(folder: Path, names: tuple[str, ...]) -> Images:
    """Records of a label and 3 x 32 x 32 bytes, from several files."""
    parts: list[NDArray[np.uint8]] = []
    for name in names:
        if not (folder / name).is_file():
            raise FileFormatError(f"{folder / name}: expected this file of CIFAR-10, found none; unpack it again")
        flat = np.fromfile(folder / name, np.uint8)
        if not flat.size or flat.size % _RECORD:
            raise FileFormatError(
                f"{folder / name}: expected records of {_RECORD} bytes, got {flat.size:,} bytes; fetch the file again"
            )
        parts.append(flat.reshape(-1, _RECORD))
    records = np.concatenate(parts)
    images = np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return _checked(images, records[:, 0], folder)


def _from_npz(file: Path) -> Split:
    try:
        # Opened here: numpy leaves a file open that turns out to be no archive.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            missing = [name for name in _ARRAYS if name not in content]
            if missing:
                raise FileFormatError(f"{file}: expected the arrays {', '.join(_ARRAYS)}, found no {missing[0]}")
            x_train, y_train, x_test, y_test = (content[name] for name in _ARRAYS)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{file}: expected an .npz file with four arrays of numbers, got {error}") from error
    return Split(_checked(x_train, y_train, file), _checked(x_test, y_test, file), name="CIFAR-10")


def _checked(images: NDArray[Any], labels: NDArray[Any], origin: Path) -> Images:
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3) or labels.size != len(images):
        raise FileFormatError(
            f"{origin}: expected uint8 images of shape (N, 32, 32, 3) with N labels, got {images.dtype} of shape "
            f"{images.shape} with {labels.size}"
        )
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < len(CIFAR10_CLASSES):
        raise FileFormatError(f"{origin}: expected labels 0 to 9, got {labels.min()} to {labels.max()}")
    return Images(images, labels.reshape(-1).astype(np.int64), CIFAR10_CLASSES)
