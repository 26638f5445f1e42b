"""CIFAR-10 from both kinds of file, and refusals of what is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepgraph.dataset import read_cifar10
from deepgraph.errors import ArgumentError, FileFormatError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
Y = RNG.integers(0, 10, 12).astype(np.uint8)


def write_binary(folder: Path) -> None:
    """The format as its page describes it: label, then red, green and blue planes."""
    folder.mkdir()
    records = [bytes([int(y)]) + b"".join(x[:, :, c].tobytes() for c in range(3)) for x, y in zip(X, Y, strict=True)]
    for k in range(5):
        (folder / f"data_batch_{k + 1}.bin").write_bytes(b"".join(records[2 * k : 2 * k + 2]))
    (folder / "test_batch.bin").write_bytes(b"".join(records[10:]))


def write_npz(path: Path, **changed: np.ndarray) -> None:
    arrays = {"x_train": X[:10], "y_train": Y[:10], "x_test": X[10:], "y_test": Y[10:]} | changed
    np.savez(path, **arrays)


def test_both_formats_give_the_same(tmp_path: Path) -> None:
    write_binary(tmp_path / "cifar-10-batches-bin")
    write_npz(tmp_path / "other.npz")
    found = [
        read_cifar10(tmp_path),
        read_cifar10(tmp_path / "cifar-10-batches-bin"),
        read_cifar10(tmp_path / "other.npz"),
    ]
    write_npz(tmp_path / "cifar10.npz")
    for split in [*found, read_cifar10(tmp_path)]:
        assert np.array_equal(split.train.images, X[:10])
        assert np.array_equal(split.test.images, X[10:])
        assert np.array_equal(split.train.labels, Y[:10])
        assert (split.name, split.classes[9], split.shape) == ("CIFAR-10", "truck", (32, 32, 3))


def test_labels_may_come_as_a_column(tmp_path: Path) -> None:
    write_npz(tmp_path / "cifar10.npz", y_train=Y[:10, None])
    assert read_cifar10(tmp_path).train.labels.shape == (10,)


def test_what_is_missing_or_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"expected cifar-10-batches-bin or cifar10\.npz in .*, found neither"):
        read_cifar10(tmp_path)
    folder = tmp_path / "cifar-10-batches-bin"
    write_binary(folder)
    (folder / "data_batch_3.bin").write_bytes(b"123")
    with pytest.raises(FileFormatError, match="expected records of 3073 bytes, got 3 bytes"):
        read_cifar10(folder)
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(FileFormatError, match="expected this file of CIFAR-10, found none"):
        read_cifar10(folder)
    for changed, message in (
        ({"x_train": X[:10, :5]}, r"expected uint8 images of shape \(N, 32, 32, 3\) with N labels"),
        ({"y_train": Y[:9]}, "with 9"),
        ({"y_train": Y[:10] + 100}, "expected labels 0 to 9"),
        ({"y_test": np.array([{}, {}])}, "expected an .npz file with four arrays of numbers"),
    ):
        write_npz(tmp_path / "cifar10.npz", **changed)
        with pytest.raises(FileFormatError, match=message):
            read_cifar10(tmp_path)
    np.savez(tmp_path / "cifar10.npz", x_train=X)
    with pytest.raises(FileFormatError, match="found no y_train"):
        read_cifar10(tmp_path)
    (tmp_path / "cifar10.npz").write_bytes(b"PK\x03\x04 no zip file")
    with pytest.raises(FileFormatError, match=r"expected an \.npz file"):
        read_cifar10(tmp_path)
