"""The file format: one zip with a JSON header and `.npy` members, written atomically and read with bounded memory.

A file is read in full and checked before anybody sees a part of it. Members are stored uncompressed, so what a reader
allocates is bounded by the size of the file. Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from deepgraph.errors import FileFormatError, TooLargeError
from deepgraph.graph.arrays import Array

__all__ = ["FORMAT_VERSION", "MAX_HEADER", "check_header", "check_values", "read_file", "replacing", "write_file"]

FORMAT_VERSION = 1
_HEADER = "deepgraph.json"
MAX_HEADER = 2**26
_EPOCH = (1980, 1, 1, 0, 0, 0)
_KINDS = "biufcUS"


def write_file(path: str | os.PathLike[str], content: Any, arrays: Sequence[Array]) -> None:
    """Write a JSON value and arrays to a file; an existing file is replaced at once or, on a crash, left as it is.

    Raises
    ------
    TooLargeError
        If the JSON value exceeds 64 MiB.

    Notes
    -----
    The same content gives the same bytes. The new file is written beside the old one and synchronised to disk before
    it takes the old one's name.
    """
    header = json.dumps(
        {"format": "deepgraph", "version": FORMAT_VERSION, "arrays": len(arrays), "content": content},
        allow_nan=False,
        separators=(",", ":"),
    ).encode()
    check_header(header)
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_HEADER, _EPOCH), header)
        for number, array in enumerate(arrays):
            with archive.open(zipfile.ZipInfo(f"{number}.npy", _EPOCH), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)


def check_header(header: bytes | str) -> None:
    """Raise TooLargeError if what is no array exceeds what a reader takes."""
    if len(header) > MAX_HEADER:
        raise TooLargeError(
            f"expected at most {MAX_HEADER:,} bytes of labels and attributes that are no arrays, got {len(header):,}; "
            "keep them in columns of numbers or strings"
        )


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give an open binary file that takes the name `path` when all was written, and vanishes on an error."""
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".{target.name}.{os.getpid()}.saving")
    try:
        with open(draft, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system lets one open a folder."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_file(path: str | os.PathLike[str]) -> tuple[Any, list[Array]]:
    """Return the JSON value and the arrays of a file that `write_file` wrote, all of it checked.

    Raises
    ------
    FileFormatError
        If the file is truncated, damaged, foreign or written by a newer version.
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                members = _members(archive, size)
                header = _header(archive, members)
                arrays = [_array(archive, members[f"{k}.npy"]) for k in range(header["arrays"])]
        except FileFormatError as error:
            raise FileFormatError(f"{name}: {error}") from None
        except Exception as error:
            # A hostile file makes zipfile, json and numpy's parser of headers raise about anything.
            raise FileFormatError(f"{name}: expected a file that deepgraph saved, got a bad one: {error}") from error
    return header["content"], arrays


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, refused if they could take more memory than the file is long."""
    members = {info.filename: info for info in archive.infolist()}
    if len(members) < len(archive.infolist()):
        raise FileFormatError("expected each member once, got duplicates")
    for info in members.values():
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
            raise FileFormatError(f"expected plain members, got {info.filename!r} compressed or encrypted")
    declared = sum(info.file_size for info in members.values())
    if declared > size:
        raise FileFormatError(f"expected members within {size:,} bytes, got {declared:,} bytes declared")
    return members


def _header(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> dict[str, Any]:
    if _HEADER not in members:
        raise FileFormatError(f"expected a file that deepgraph saved, got an archive without {_HEADER}")
    if members[_HEADER].file_size > MAX_HEADER:
        raise FileFormatError(
            f"expected a header of at most {MAX_HEADER:,} bytes, got {members[_HEADER].file_size:,} bytes declared"
        )
    header = json.loads(archive.read(members[_HEADER]))
    if not isinstance(header, dict) or header.get("format") != "deepgraph":
        raise FileFormatError("expected the format 'deepgraph', got another one")
    version, arrays = header.get("version"), header.get("arrays")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise FileFormatError(
            f"expected format version {FORMAT_VERSION} or older, got {version}, of a newer deepgraph; upgrade it"
        )
    if version != FORMAT_VERSION or type(arrays) is not int:
        raise FileFormatError(f"expected a header of version {FORMAT_VERSION}, got {str(header)[:80]!r}")
    if arrays != len(members) - 1 or not all(f"{k}.npy" in members for k in range(arrays)):
        raise FileFormatError(f"expected {arrays} arrays beside the header, got others: {sorted(members)[:4]}")
    return header


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """Return one array; its declared size is compared with its member's before anything is allocated."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise FileFormatError(f"{info.filename}: expected npy version 1 or 2, got {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(member)
        if dtype.kind not in _KINDS or dtype.itemsize == 0 or fortran:
            raise FileFormatError(f"{info.filename}: expected an array of plain values, got dtype {dtype}")
        data = info.file_size - member.tell()
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != data:
            raise FileFormatError(f"{info.filename}: expected {data:,} bytes of data, got shape {shape} of {dtype}")
        array = np.empty(shape, dtype)
        if data:
            _fill(member, array.reshape(-1).view(np.uint8).data)
    check_values(array, info.filename)
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def _fill(member: Any, view: memoryview) -> None:
    at = 0
    while at < len(view):
        count = io.BufferedIOBase.readinto(member, view[at : at + 2**24])
        if not count:
            raise FileFormatError("expected more data, got the end of the file")
        at += count


def check_values(array: Array, name: str) -> None:
    """Refuse bytes that are no value of the dtype."""
    if array.dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        raise FileFormatError(f"{name}: expected booleans, got other bytes")
    if array.dtype.kind == "U" and array.size:
        codes = array.reshape(-1).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if codes.max() > 0x10FFFF:
            raise FileFormatError(f"{name}: expected text, got numbers that are no characters")
