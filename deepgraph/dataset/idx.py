"""Readers of IDX, the file format of MNIST and of the data sets that took its place.

An IDX file is a magic number (two zero bytes, a type code, the number of dimensions), one big-endian uint32 per
dimension, and the values, big-endian, last dimension fastest [1]_.

References
----------
.. [1] Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "file formats".
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from deepgraph.dataset.images import Images, Split
from deepgraph.errors import ArgumentError, FileFormatError

__all__ = ["read_idx", "read_idx_folder"]

_DTYPE_OF_CODE = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 8
_CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str], max_bytes: int = 1 << 31) -> NDArray[Any]:
    """The array in an IDX file, plain or gzipped (told by its content, not by its name), in native byte order.

    Memory grows with the values that are really there, never with what the header claims.

    Parameters
    ----------
    path : path
        The file.
    max_bytes : int
        The largest size of the values that is accepted, in bytes; 2 GiB unless told.

    Returns
    -------
    ndarray
        Shape and dtype as the header says (uint8, int8, int16, int32, float32 or float64).

    Raises
    ------
    FileFormatError
        If the file is not IDX, is truncated, has bytes left over, is a damaged gzip, or is larger than `max_bytes`.
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> import os, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "labels")
    >>> with open(path, "wb") as file:
    ...     _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 9, 0, 3]))
    >>> read_idx(path).tolist()
    [9, 0, 3]
    >>> folder.cleanup()
    """
    path = Path(path)
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not zipped:
            return _read(file, path, max_bytes)
        try:
            with gzip.open(file) as unzipped:
                return _read(cast(BinaryIO, unzipped), path, max_bytes)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise FileFormatError(
                f"{path}: expected a gzipped IDX file, but the gzip data are damaged ({error}); fetch the file again"
            ) from error


def read_idx_folder(
    path: str | os.PathLike[str], *, classes: tuple[str, ...] | None = None, name: str | None = None
) -> Split:
    """The training and test set in a folder with the four IDX files of MNIST, Fashion-MNIST or their kin.

    The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`; `.gz` may follow, and `train-images.idx3-ubyte` is another spelling of the same.

    Parameters
    ----------
    path : path
        The folder.
    classes : tuple of str, optional
        The name of each label; default "0", "1", ... up to the largest label of either set.
    name : str, optional
        What the data are called in reports; default the name of the folder.

    Returns
    -------
    Split

    Raises
    ------
    ArgumentError
        If `path` is not a folder, or a file is missing, or a label has no name in `classes`.
    FileFormatError
        If a file is damaged, or does not hold what its name says.

    Examples
    --------
    >>> read_idx_folder("no/such/folder")
    Traceback (most recent call last):
        ...
    deepgraph.errors.ArgumentError: expected a folder with IDX files, got 'no/such/folder', which is not a folder
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ArgumentError(f"expected a folder with IDX files, got {str(path)!r}, which is not a folder")
    parts = {part: _read_pair(folder, part) for part in ("train", "t10k")}
    if classes is None:
        highest = max(int(labels.max(initial=0)) for _, labels in parts.values())
        classes = tuple(str(label) for label in range(highest + 1))
    train, test = (Images(images, labels.astype(np.int64), classes) for images, labels in parts.values())
    return Split(train, test, name=folder.resolve().name if name is None else name)


def _read(file: BinaryIO, path: Path, max_bytes: int) -> NDArray[Any]:
    """The array in an open IDX stream; `path` is named in errors."""
    shape, dtype = _read_header(file, path)
    size = math.prod(shape) * dtype.itemsize
    if size > max_bytes:
        raise FileFormatError(
            f"{path}: the header announces shape {shape}, {size:,} bytes, more than the limit of {max_bytes:,}; "
            "if the file is really that large, raise max_bytes"
        )
    values = _read_at_most(file, size + 1)
    if len(values) != size:
        came = "more follow" if len(values) > size else f"only {len(values):,} follow"
        raise FileFormatError(
            f"{path}: the header announces shape {shape}, so {size:,} bytes of values, but {came}; "
            "the file is truncated or not an IDX file: fetch it again"
        )
    return np.frombuffer(values, dtype).astype(dtype.newbyteorder("=")).reshape(shape)


def _read_header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and the (big-endian) dtype that the header announces."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPE_OF_CODE:
        raise FileFormatError(
            f"{path}: expected an IDX file, which starts with bytes 00 00 and a type code 08 to 0e, got "
            f"{magic.hex(' ') or 'an empty file'}; check that this is the right file, unpacked or gzipped"
        )
    dimensions = magic[3]
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise FileFormatError(
            f"{path}: expected 1 to {_MAX_DIMENSIONS} dimensions in the IDX header, got {dimensions}; "
            "the file is damaged: fetch it again"
        )
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise FileFormatError(
            f"{path}: the IDX header announces {dimensions} dimensions, but ends after {len(sizes)} of "
            f"{4 * dimensions} bytes; the file is truncated: fetch it again"
        )
    return struct.unpack(f">{dimensions}I", sizes), np.dtype(_DTYPE_OF_CODE[magic[2]])


def _read_at_most(file: BinaryIO, size: int) -> bytearray:
    """Up to `size` bytes, in chunks: a single read would set aside what a hostile header asks for."""
    values = bytearray()
    while chunk := file.read(min(_CHUNK, size - len(values))):
        values += chunk
    return values


def _read_pair(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    """The images (N, H, W) and labels (N,) of one part, "train" or "t10k"."""
    images_path, labels_path = _find(folder, f"{part}-images-idx3-ubyte"), _find(folder, f"{part}-labels-idx1-ubyte")
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise FileFormatError(
            f"{images_path}: expected uint8 images of shape (N, H, W), got {images.dtype} of shape {images.shape}; "
            "check that the files are not swapped"
        )
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise FileFormatError(
            f"{labels_path}: expected one integer label for each of {len(images)} images, got {labels.dtype} of shape "
            f"{labels.shape}; take both files from the same set"
        )
    return images, labels


def _find(folder: Path, name: str) -> Path:
    """The path of a standard file under any of its spellings."""
    stem, _, kind = name.rpartition("-idx")
    for candidate in (name, f"{name}.gz", f"{stem}.idx{kind}", f"{stem}.idx{kind}.gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    present = sorted(entry.name for entry in folder.iterdir())
    seen = ", ".join(present[:8]) + (", ..." if len(present) > 8 else "") if present else "nothing"
    raise ArgumentError(f"expected {name} (or {name}.gz) in {folder}, found {seen}; name the folder that holds it")
