"""IDX files: the array comes back, and whatever is not one is refused with bounded memory."""

from __future__ import annotations

import gzip
import struct
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deepgraph.dataset import read_idx, read_idx_folder
from deepgraph.errors import ArgumentError, DeepGraphError, FileFormatError

CODE_OF_KIND = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

arrays = st.sampled_from(sorted(CODE_OF_KIND)).flatmap(
    lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
)


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file with the array, written from the definition of the format."""
    header = bytes([0, 0, CODE_OF_KIND[array.dtype.str[1:]], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_folder(folder: Path, spell: str = "{}", train: int = 3, test: int = 2) -> None:
    sets = {"train": train, "t10k": test}
    for name in NAMES:
        count = sets[name.split("-")[0]]
        labels = np.arange(count, dtype=np.uint8)
        array = labels if "labels" in name else np.full((count, 4, 5), 7, np.uint8)
        raw = idx_bytes(array)
        path = folder / spell.format(name)
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@given(array=arrays, zipped=st.booleans())
def test_what_was_written_is_read(array: np.ndarray, zipped: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "array"
        raw = idx_bytes(array)
        path.write_bytes(gzip.compress(raw) if zipped else raw)
        found = read_idx(path)
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, array)


@given(raw=st.binary(max_size=60), zipped=st.booleans())
def test_any_bytes_give_an_array_or_a_clear_error(raw: bytes, zipped: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "array"
        path.write_bytes(gzip.compress(raw) if zipped else raw)
        try:
            found = read_idx(path)
        except FileFormatError as error:
            message = str(error)
        else:
            message = f"{path}: {type(found)}"
    assert message.startswith(f"{path}: ")


@given(array=arrays, data=st.data())
def test_every_truncation_is_noticed(array: np.ndarray, data: st.DataObject) -> None:
    raw = idx_bytes(array)
    zipped = gzip.compress(raw)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "array"
        path.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
        with pytest.raises(FileFormatError, match=r"truncated|starts with bytes 00 00"):
            read_idx(path)
        path.write_bytes(zipped[: data.draw(st.integers(0, len(zipped) - 1))])
        with pytest.raises(FileFormatError, match=r"damaged|starts with bytes 00 00"):
            read_idx(path)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "starts with bytes 00 00 .* got an empty file"),
        (b"PK\x03\x04", "got 50 4b 03 04; check that this is the right file"),
        (bytes([0, 0, 0x0A, 1]) + bytes(4), "type code 08 to 0e, got 00 00 0a 01"),
        (bytes([0, 0, 8, 0]), "expected 1 to 8 dimensions in the IDX header, got 0"),
        (bytes([0, 0, 8, 255]) + bytes(2000), "expected 1 to 8 dimensions in the IDX header, got 255"),
        (bytes([0, 0, 8, 3, 0, 0]), "announces 3 dimensions, but ends after 2 of 12 bytes"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 5, 1]), r"shape \(5,\), so 5 bytes of values, but only 1 follow"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 1, 2]), r"shape \(1,\), so 1 bytes of values, but more follow"),
        (bytes([0, 0, 14, 4]) + b"\xff" * 16, "more than the limit of 2,147,483,648; .* raise max_bytes"),
        (b"\x1f\x8b" + bytes(20), "expected a gzipped IDX file, but the gzip data are damaged"),
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "array"
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match=message):
        read_idx(path)


def test_a_corrupted_gzip_is_refused(tmp_path: Path) -> None:
    raw = bytearray(gzip.compress(idx_bytes(np.arange(200, dtype=np.uint8))))
    raw[40] ^= 0xFF
    (tmp_path / "array").write_bytes(bytes(raw))
    with pytest.raises(FileFormatError, match=r"damaged .*; fetch the file again|follow"):
        read_idx(tmp_path / "array")


@pytest.mark.parametrize("zipped", [False, True])
def test_memory_follows_the_file_and_not_the_header(tmp_path: Path, zipped: bool) -> None:
    raw = bytes([0, 0, 8, 1]) + struct.pack(">I", 2_000_000_000) + bytes(100)
    (tmp_path / "array").write_bytes(gzip.compress(raw) if zipped else raw)
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match="only 100 follow"):
            read_idx(tmp_path / "array")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    raw = bytes([0, 0, 8, 1]) + struct.pack(">I", 1000) + bytes(50_000_000)
    (tmp_path / "array").write_bytes(gzip.compress(raw))
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match="more follow"):
            read_idx(tmp_path / "array")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_the_limit_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "array").write_bytes(idx_bytes(np.zeros(10, np.int32)))
    assert read_idx(tmp_path / "array", max_bytes=40).shape == (10,)
    with pytest.raises(FileFormatError, match=r"shape \(10,\), 40 bytes, more than the limit of 39"):
        read_idx(tmp_path / "array", max_bytes=39)


def test_a_missing_file_is_the_usual_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing_here"):
        read_idx(tmp_path / "nothing_here")


@pytest.mark.parametrize("spell", ["{}", "{}.gz"])
def test_a_folder_is_read_under_its_usual_names(tmp_path: Path, spell: str) -> None:
    write_folder(tmp_path, spell)
    split = read_idx_folder(tmp_path)
    assert (split.name, len(split.train), len(split.test), split.shape) == (tmp_path.name, 3, 2, (4, 5))
    assert split.classes == ("0", "1", "2")
    assert split.train.labels.tolist() == [0, 1, 2]
    assert split.train.images[0].tolist() == [[7] * 5] * 4


def test_a_folder_is_read_under_the_spelling_with_a_dot(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for name in NAMES:
        (tmp_path / name).rename(tmp_path / name.replace("-idx", ".idx"))
    split = read_idx_folder(tmp_path, classes=("a", "b", "c"), name="letters")
    assert (split.name, split.classes) == ("letters", ("a", "b", "c"))


def test_missing_folders_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"expected a folder with IDX files, got .*absent.*not a folder"):
        read_idx_folder(tmp_path / "absent")
    with pytest.raises(ArgumentError, match=r"expected train-images-idx3-ubyte \(or .*\.gz\) in .*, found nothing"):
        read_idx_folder(tmp_path)
    write_folder(tmp_path)
    (tmp_path / NAMES[3]).unlink()
    with pytest.raises(ArgumentError, match=r"expected t10k-labels-idx1-ubyte .* found t10k-images-idx3-ubyte, train"):
        read_idx_folder(tmp_path)


def test_files_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / NAMES[1]).write_bytes(idx_bytes(np.zeros(9, np.uint8)))
    with pytest.raises(FileFormatError, match=r"one integer label for each of 3 images, got uint8 of shape \(9,\)"):
        read_idx_folder(tmp_path)
    (tmp_path / NAMES[0]).write_bytes(idx_bytes(np.zeros((3, 4, 5), np.float32)))
    with pytest.raises(FileFormatError, match=r"uint8 images of shape \(N, H, W\), got float32 of shape \(3, 4, 5\)"):
        read_idx_folder(tmp_path)


def test_labels_without_a_name_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path)
    with pytest.raises(ArgumentError, match="from 0 to 1 for 2 classes, got 0 to 2"):
        read_idx_folder(tmp_path, classes=("a", "b"))
    assert issubclass(ArgumentError, DeepGraphError)
