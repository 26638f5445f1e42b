"""Sets of labelled images and the bundled sample."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deepgraph import dataset
from deepgraph.dataset import Images, Split, fashion_mnist_sample, sample
from deepgraph.errors import ArgumentError, DtypeError, FileFormatError, ShapeError

PACKAGE = Path(sample.__file__).parent


def images(count: int = 3, side: int = 4, classes: tuple[str, ...] = ("a", "b")) -> Images:
    return Images(np.zeros((count, side, side), np.uint8), np.zeros(count, np.int64), classes)


def test_the_sample_is_the_published_one() -> None:
    split = fashion_mnist_sample()
    assert split.train.images.shape == (2000, 28, 28)
    assert split.test.images.shape == (1000, 28, 28)
    assert split.train.images.dtype == split.test.images.dtype == np.uint8
    # Counts of the first 2,000 labels and sums of pixels, taken from the IDX files of the full set.
    assert np.bincount(split.train.labels).tolist() == [194, 216, 202, 195, 186, 200, 194, 215, 198, 200]
    assert split.test.labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    assert split.train.images.max() == 255
    assert len(split.classes) == 10


def test_the_sample_equals_the_full_set_where_that_is_at_hand() -> None:
    folder = Path.home() / ".cache" / "deepgraph" / "fashion-mnist"
    if not folder.is_dir():
        pytest.skip("the full set is not in the cache folder")
    full, split = dataset.read_idx_folder(folder), fashion_mnist_sample()
    for bundled, whole in ((split.train, full.train), (split.test, full.test)):
        assert np.array_equal(bundled.images, whole.images[: len(bundled)])
        assert np.array_equal(bundled.labels, whole.labels[: len(bundled)])


def test_the_file_is_small_and_carries_its_licence() -> None:
    assert (PACKAGE / "fashion_mnist_sample.npz").stat().st_size < 1_500_000
    notice = (PACKAGE / "fashion_mnist_sample.txt").read_text()
    assert "The MIT License" in notice
    assert "Zalando SE" in notice


def test_a_damaged_file_is_refused() -> None:
    raw = bytearray((PACKAGE / "fashion_mnist_sample.npz").read_bytes())
    raw[1000] ^= 1
    with pytest.raises(FileFormatError, match=r"expected sha256 30d43c0ffdaa.* reinstall deepgraph-nn"):
        sample._parse(bytes(raw))
    with pytest.raises(FileFormatError, match=r"\(0 bytes\)"):
        sample._parse(b"")


def test_the_sample_is_read_once_and_cannot_be_changed() -> None:
    assert fashion_mnist_sample() is fashion_mnist_sample()
    with pytest.raises(ValueError, match="read-only"):
        fashion_mnist_sample().train.images[0, 0, 0] = 1


@pytest.mark.usefixtures("global_rng_untouched")
def test_tensors_are_normalised_copies() -> None:
    split = fashion_mnist_sample()
    x, y = split.train.tensors()
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    assert (float(x.min()), float(x.max())) == (0.0, 1.0)
    x.fill_(7)
    assert float(split.train.tensors()[0].max()) == 1.0
    raw, _ = split.train.tensors(normalise=False)
    assert raw.dtype == torch.uint8
    assert np.array_equal(raw.numpy(), split.train.images)
    assert [tuple(t.shape) for t in split.tensors()] == [(2000, 28, 28), (2000,), (1000, 28, 28), (1000,)]


def test_images_leave_the_callers_array_writeable() -> None:
    array = np.zeros((1, 2, 2), np.uint8)
    held = Images(array, np.array([0]), ("a",))
    array[0, 0, 0] = 1
    assert not held.images.flags.writeable
    assert len(held) == 1
    assert repr(held) == "Images(1 images of 2 x 2, 1 classes)"


def test_empty_and_colour_sets() -> None:
    empty = Images(np.zeros((0, 4, 4), np.uint8), np.zeros(0, np.int64), ())
    assert len(empty) == 0
    colour = Images(np.zeros((2, 4, 5, 3), np.uint8), np.array([0, 0]), ("a",))
    assert colour.shape == (4, 5, 3)
    assert tuple(colour.tensors()[0].shape) == (2, 4, 5, 3)


@pytest.mark.parametrize(
    ("pixels", "labels", "error", "message"),
    [
        (np.zeros((2, 4, 4)), [0, 0], DtypeError, "images need dtype uint8 .* got float64; convert with"),
        (np.zeros((2, 16), np.uint8), [0, 0], ShapeError, r"images need shape .* got \(2, 16\); reshape"),
        (np.zeros((2, 4, 4), np.uint8), [0], ShapeError, r"one entry per image, shape \(2,\), got \(1,\)"),
        (np.zeros((2, 4, 4), np.uint8), [0.0, 1.0], DtypeError, "labels need an integer dtype, got float64"),
        (np.zeros((2, 4, 4), np.uint8), [0, 2], ArgumentError, "from 0 to 1 for 2 classes, got 0 to 2"),
        (np.zeros((2, 4, 4), np.uint8), [-1, 0], ArgumentError, "from 0 to 1 for 2 classes, got -1 to 0"),
    ],
)
def test_wrong_arrays_are_refused(pixels: np.ndarray, labels: list[float], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Images(pixels, np.array(labels), ("a", "b"))


def test_train_and_test_must_go_together() -> None:
    with pytest.raises(ShapeError, match=re.escape("train has (4, 4) and test has (5, 5)")):
        Split(images(), images(side=5))
    with pytest.raises(ArgumentError, match=r"same classes, but train has \('a', 'b'\) and test has \('a',\)"):
        Split(images(), images(classes=("a",)))


def test_names_come_on_first_use() -> None:
    assert set(dataset.__all__) <= set(dir(dataset))
    with pytest.raises(AttributeError, match="no attribute 'svhn'; it has FuncDataset, Images"):
        dataset.svhn  # noqa: B018
    program = "import sys, deepgraph.dataset as d\nd.fashion_mnist_sample()\nsys.exit('torch' in sys.modules)"
    root = str(PACKAGE.parent.parent)
    assert subprocess.run([sys.executable, "-c", program], cwd=root, env=os.environ, check=False).returncode == 0
