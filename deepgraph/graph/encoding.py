"""Values as JSON and arrays, and back: what the header of a file says.

A JSON object is always tagged with its "kind"; `Encoder` and `Decoder` have one method a kind, and a subclass adds
more.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from deepgraph.errors import DtypeError, FileFormatError
from deepgraph.graph.arrays import Array

__all__ = ["Decoder", "Encoder"]

Node = Any

_MOST_USES = 4

_SEQUENCES: dict[type, str] = {tuple: "tuple", set: "set", frozenset: "frozenset", deque: "deque"}
_MAPPINGS: dict[type, str] = {dict: "dict", OrderedDict: "ordered dict", Counter: "counter"}
_MAKERS: dict[str, Callable[[Any], Any]] = {
    **{word: kind for kind, word in _SEQUENCES.items()},
    **{word: kind for kind, word in _MAPPINGS.items() if kind is not Counter},
    "counter": lambda items: Counter(dict(items)),
}


class Encoder:
    """Turns values into JSON nodes; arrays are collected in `arrays` and referred to by number."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []

    def put(self, array: Any) -> Node:
        """Keep an array and return its number."""
        self.arrays.append(np.asarray(array))
        return len(self.arrays) - 1

    def encode(self, value: Any, where: str) -> Node:
        """Return the node of a value; `where` names it in messages.

        Raises
        ------
        DtypeError
            If the value, or one inside it, is of a kind that no file holds.
        """
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if np.isfinite(value) else {"kind": "float", "value": repr(value)}
        if type(value) is list:
            return [self.encode(item, f"{where}[{k}]") for k, item in enumerate(value)]
        if type(value) in _SEQUENCES:
            items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else list(value)
            encoded = [self.encode(item, f"{where}[{k}]") for k, item in enumerate(items)]
            return {"kind": _SEQUENCES[type(value)], "items": encoded}
        if type(value) in _MAPPINGS:
            pairs = [[self.encode(k, f"{where}: key"), self.encode(v, f"{where}[{k!r}]")] for k, v in value.items()]
            return {"kind": _MAPPINGS[type(value)], "items": pairs}
        if isinstance(value, (bytes, bytearray)):
            return {"kind": "bytes", "array": self.put(np.frombuffer(bytes(value), np.uint8))}
        if isinstance(value, (np.ndarray, np.generic)):
            if value.dtype.kind not in "biufcUS":
                raise DtypeError(f"{where}: expected an array of numbers, booleans or strings, got dtype {value.dtype}")
            return {"kind": "array" if isinstance(value, np.ndarray) else "scalar", "array": self.put(value)}
        return self.encode_other(value, where)

    def encode_other(self, value: Any, where: str) -> Node:
        """Return the node of a value of a kind that this class does not know; a subclass knows more."""
        raise DtypeError(
            f"{where}: expected plain data, arrays, graphs or objects with state_dict, got {type(value).__name__}; "
            "convert it or leave it out"
        )


class Decoder:
    """Turns JSON nodes back into values."""

    def __init__(self, arrays: list[Array]) -> None:
        self.arrays = arrays
        self._uses: Counter[int] = Counter()

    def get(self, number: Any, kind: str | None = None, shape: tuple[int | None, ...] | None = None) -> Array:
        """Return array `number`, refused unless its dtype kind is in `kind` and its shape is `shape` (None: any).

        Raises
        ------
        FileFormatError
            If there is no such array, or it is another.
        """
        if type(number) is not int or not 0 <= number < len(self.arrays):
            raise FileFormatError(f"expected the number of an array below {len(self.arrays)}, got {number!r:.40}")
        # What a value takes is copied, so a file that names one array everywhere could take any memory.
        self._uses[number] += 1
        if self._uses[number] > _MOST_USES:
            raise FileFormatError(f"expected each array in one place, got array {number} in many")
        array = self.arrays[number]
        if kind is not None and array.dtype.kind not in kind:
            raise FileFormatError(f"array {number}: expected a dtype of kind {kind!r}, got {array.dtype}")
        if shape is not None and (
            array.ndim != len(shape) or any(w is not None and w != n for w, n in zip(shape, array.shape, strict=True))
        ):
            raise FileFormatError(f"array {number}: expected shape {shape}, got {array.shape}")
        return array

    def decode(self, node: Node) -> Any:
        """Return the value of a node.

        Raises
        ------
        FileFormatError
            If the node is of a kind that this class does not know.
        """
        if node is None or isinstance(node, (bool, int, float, str)):
            return node
        if isinstance(node, list):
            return [self.decode(item) for item in node]
        kind = node["kind"]
        if kind == "float":
            return float(node["value"])
        if kind == "bytes":
            return self.get(node["array"], "u", (None,)).astype(np.uint8).tobytes()
        if kind == "array":
            return self.get(node["array"]).copy()
        if kind == "scalar":
            return self.get(node["array"], shape=())[()]
        if kind in _MAKERS:
            pairs = kind in _MAPPINGS.values()
            items = [(self.decode(i[0]), self.decode(i[1])) if pairs else self.decode(i) for i in node["items"]]
            return _MAKERS[kind](items)
        return self.decode_other(kind, node)

    def decode_other(self, kind: str, node: Node) -> Any:
        """Return the value of a node of a kind that this class does not know; a subclass knows more."""
        raise FileFormatError(f"expected a value of a kind that this version knows, got {kind!r:.40}")
