"""Graphs in safetensors files: the arrays under readable names, everything else as JSON in the metadata."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import numpy as np

from deepgraph.errors import FileFormatError, MissingDependencyError
from deepgraph.graph.array_graph import ArrayGraph
from deepgraph.graph.arrays import Array
from deepgraph.graph.cached_layered import CachedLayeredGraph
from deepgraph.graph.container import check_header, check_values, replacing
from deepgraph.graph.files import GraphDecoder, GraphEncoder, reading

__all__ = ["read_safetensors", "write_safetensors"]

_VERSION = 1
_PLAIN = {"bool", *(f"{s}int{b}" for s in ("", "u") for b in (8, 16, 32, 64)), "float16", "float32", "float64"}


def _package() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise MissingDependencyError(
            "expected the package safetensors for .safetensors files, which is not installed: pip install safetensors, "
            "or save in the default format"
        ) from error
    return safetensors


def write_safetensors(g: ArrayGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph with all that the default format holds, at once or not at all.

    Raises
    ------
    MissingDependencyError
        If safetensors is not installed.
    DtypeError
        If a label or an attribute is of a kind that no file holds.
    TooLargeError
        If labels and attributes that fit no array exceed 64 MiB.
    """
    package, encoder = _package(), GraphEncoder()
    content = encoder.encode_graph(g, "graph")
    names = _readable_names(content, len(encoder.arrays))
    raw: dict[str, Any] = {}
    tensors = {}
    for name, array in zip(names, encoder.arrays, strict=True):
        tensors[name] = np.asarray(array, order="C")
        if array.dtype.name not in _PLAIN or not array.dtype.isnative:
            raw[name] = [array.dtype.str, list(array.shape)]
            tensors[name] = np.frombuffer(array.tobytes(), np.uint8)
    header = json.dumps({"version": _VERSION, "content": content, "names": names, "raw": raw}, allow_nan=False)
    check_header(header)
    with replacing(path) as file:
        file.write(package.numpy.save(tensors, {"deepgraph": header}))


def _readable_names(content: dict[str, Any], count: int) -> list[str]:
    names = [f"array {k}" for k in range(count)]
    names[content["indptr"]], names[content["dst"]] = "indptr", "dst"
    for kind in ("edge", "node"):
        for name, number, mask in content[f"{kind} columns"]["columns"]:
            names[number] = f"{kind} column: {name}"
            if mask is not None:
                names[mask] = f"{kind} column present: {name}"
    return names


def read_safetensors(path: str | os.PathLike[str], check: bool = True) -> CachedLayeredGraph:
    """Return the graph of a file that `write_safetensors` wrote.

    Raises
    ------
    MissingDependencyError
        If safetensors is not installed.
    FileFormatError
        If the file is truncated, damaged, foreign or newer; unless `check` is False, if the graph has a cycle, or
        weights or biases that are not finite.
    """
    package = _package()
    os.stat(path)
    with reading(path):
        try:
            with package.safe_open(os.fspath(path), framework="numpy") as file:
                header = json.loads((file.metadata() or {}).get("deepgraph", "null"))
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except Exception as error:
            # The reader of a damaged file raises errors of its own kind.
            raise FileFormatError(f"expected a safetensors file, got a bad one: {error}") from error
        if not isinstance(header, dict):
            raise FileFormatError("expected a graph that deepgraph saved, got other tensors")
        if type(header.get("version")) is not int or header["version"] > _VERSION:
            raise FileFormatError(
                f"expected version {_VERSION} or older, got {header.get('version')!r:.40}; upgrade deepgraph"
            )
        if len(set(header["names"])) < len(header["names"]):
            raise FileFormatError("expected each array once, got duplicates")
        arrays = [_array(found, name, header["raw"]) for name in header["names"]]
        return GraphDecoder(arrays, check).decode_graph(header["content"])


def _array(found: dict[str, Array], name: str, raw: dict[str, Any]) -> Array:
    array = found[name]
    if name in raw:
        dtype, shape = np.dtype(raw[name][0]), tuple(raw[name][1])
        if dtype.kind not in "biufcUS" or dtype.itemsize == 0 or math.prod(shape) * dtype.itemsize != array.nbytes:
            raise FileFormatError(f"{name}: expected {array.nbytes:,} bytes of values, got {raw[name]!r:.60}")
        array = np.frombuffer(array.tobytes(), dtype).reshape(shape)
    check_values(array, name)
    return array
