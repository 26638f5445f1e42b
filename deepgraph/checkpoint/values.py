"""How tensors, modules, objects with a state and random state become JSON and arrays, and back."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.errors import DtypeError, FileFormatError, UnsupportedOperationError
from deepgraph.graph.encoding import Node
from deepgraph.graph.files import GraphDecoder, GraphEncoder
from deepgraph.graph.history import History, block_of_transactions
from deepgraph.graph.history_files import decode_history, encode_history, ranks_of

__all__ = [
    "HOME",
    "CheckpointDecoder",
    "CheckpointEncoder",
    "RngState",
    "SavedObject",
    "first_transaction",
    "is_ours",
    "rng_state",
    "values_of",
]

# Where classes may come from that a file can name: no file makes us import or call anything else.
HOME = "deepgraph.sparse"
# Dtypes that numpy lacks travel as integers of the same width.
_AS_INTEGERS = {torch.bfloat16: torch.int16, torch.float8_e4m3fn: torch.uint8, torch.float8_e5m2: torch.uint8}
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
        torch.uint64, torch.float16, torch.float32, torch.float64, torch.complex64, torch.complex128, *_AS_INTEGERS,
    )
}  # fmt: skip


@dataclass(frozen=True)
class RngState:
    """The global random state of torch, numpy and Python at one moment.

    `load` returns it, and restores it when it is named in `into`; `restore()` does so at any time.
    """

    torch_state: Tensor
    cuda_states: list[Tensor]
    numpy_state: tuple[Any, ...]
    python_state: tuple[Any, ...]

    def restore(self) -> None:
        """Set the global random state of torch, of its CUDA devices if there are as many, of numpy and of Python."""
        torch.set_rng_state(self.torch_state)
        if self.cuda_states and torch.cuda.is_available() and torch.cuda.device_count() == len(self.cuda_states):
            torch.cuda.set_rng_state_all(self.cuda_states)
        np.random.set_state(self.numpy_state)
        random.setstate(self.python_state)


def rng_state() -> RngState:
    """Return the global random state of torch, numpy and Python as it is now.

    Raises
    ------
    UnsupportedOperationError
        If numpy's global generator was replaced by one of another kind.

    Examples
    --------
    >>> state = rng_state()
    >>> first = torch.rand(1)
    >>> state.restore()
    >>> bool(torch.rand(1) == first)
    True
    """
    numpy_state = np.random.get_state(legacy=True)
    if not isinstance(numpy_state, tuple) or numpy_state[0] != "MT19937":
        raise UnsupportedOperationError("expected numpy's global MT19937, got another generator; save its own state")
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return RngState(torch.get_rng_state(), cuda, numpy_state, random.getstate())


@dataclass
class SavedObject:
    """An object as it lies in a file: its class name, configuration and state."""

    name: str
    state: Any
    config: dict[str, Any] | None = None
    capacities: list[int | None] = field(default_factory=list)
    histories: list[Node] = field(default_factory=list)
    decoder: CheckpointDecoder | None = None

    def history(self, index: int, num_sources: int, num_targets: int, num_edges: int, first: int) -> History:
        """Return the history of one edge set, checked against it."""
        if self.decoder is None:
            return History()
        return decode_history(self.decoder, self.histories[index], num_sources, num_targets, num_edges, first)


def is_ours(cls: Any) -> bool:
    """Return whether a class is one of our modules that a file may name."""
    home = getattr(cls, "__module__", "")
    inside = home == HOME or home.startswith(HOME + ".")
    return isinstance(cls, type) and issubclass(cls, nn.Module) and inside and hasattr(cls, "from_config")


def values_of(obj: Any) -> list[Any]:
    """Return the edge values of a module, none of any other object."""
    if not isinstance(obj, nn.Module):
        return []
    from deepgraph.sparse import edge_values

    return list(edge_values(obj))


class CheckpointEncoder(GraphEncoder):
    """An encoder that knows tensors, modules, objects with a state, and random state."""

    def encode_other(self, value: Any, where: str) -> Node:
        if isinstance(value, Tensor):
            return self._tensor(value, where)
        if isinstance(value, torch.Size):
            return {"kind": "size", "items": list(value)}
        if isinstance(value, (torch.dtype, torch.device)):
            word = "dtype" if isinstance(value, torch.dtype) else "device"
            return {"kind": word, "value": str(value).removeprefix("torch.")}
        if isinstance(value, RngState):
            return self._rng(value)
        if callable(getattr(value, "state_dict", None)) and callable(getattr(value, "load_state_dict", None)):
            return self._object(value, where)
        return super().encode_other(value, where)

    def _tensor(self, value: Tensor, where: str) -> Node:
        dtype = str(value.dtype).removeprefix("torch.")
        if value.layout != torch.strided or value.is_quantized or value.is_meta or dtype not in _DTYPES:
            raise DtypeError(f"{where}: expected a dense tensor of numbers, got {value.layout} of {value.dtype}")
        plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        plain = plain.view(_AS_INTEGERS[value.dtype]) if value.dtype in _AS_INTEGERS else plain
        return {"kind": "tensor", "dtype": dtype, "array": self.put(plain.numpy())}

    def _object(self, value: Any, where: str) -> Node:
        state, values = value.state_dict(), values_of(value)
        histories = [one.edge_set.history for one in values]
        ranks = ranks_of(histories)
        rebuilt = isinstance(value, nn.Module) and is_ours(type(value))
        return {
            "kind": "object",
            "class": type(value).__name__,
            "config": self.encode(value.config(), f"{where}: config") if rebuilt else None,
            "state": self.encode(state, where),
            "metadata": self.encode(getattr(state, "_metadata", None), f"{where}: metadata"),
            "capacities": [one.parameter.numel() if one.storage == "csr" else None for one in values],
            "histories": [encode_history(self, history, f"{where}: history", ranks) for history in histories],
        }

    def _rng(self, value: RngState) -> Node:
        _, keys, position, has_gauss, gauss = value.numpy_state
        version, numbers, following = value.python_state
        return {
            "kind": "rng",
            "torch": self.put(value.torch_state.numpy()),
            "cuda": [self.put(state.cpu().numpy()) for state in value.cuda_states],
            "numpy": [self.put(np.asarray(keys, np.uint32)), int(position), int(has_gauss), float(gauss)],
            "python": [version, self.put(np.array(numbers, np.uint32)), following],
        }


class CheckpointDecoder(GraphDecoder):
    """A decoder that knows tensors, modules, objects with a state, and random state."""

    def decode_other(self, kind: str, node: Node) -> Any:
        if kind == "tensor":
            return self._tensor(node)
        if kind == "size":
            return torch.Size(node["items"])
        if kind == "dtype":
            return _DTYPES[node["value"]]
        if kind == "device":
            return torch.device(node["value"])
        if kind == "rng":
            return self._rng(node)
        if kind == "object":
            return self._object(node)
        return super().decode_other(kind, node)

    def _tensor(self, node: Node) -> Tensor:
        dtype = _DTYPES[node["dtype"]]
        array = self.get(node["array"], "biufc")
        if array.size == 0:
            # numpy may give an empty array strides that torch refuses to view.
            return torch.empty(array.shape, dtype=dtype)
        stored = torch.from_numpy(array.copy())
        if stored.dtype != _AS_INTEGERS.get(dtype, dtype):
            raise FileFormatError(f"expected a tensor of {dtype}, got {stored.dtype}")
        return stored.view(dtype) if dtype in _AS_INTEGERS else stored

    def _object(self, node: Node) -> SavedObject:
        name, config, state = node["class"], self.decode(node["config"]), self.decode(node["state"])
        if not isinstance(name, str) or not (config is None or type(config) is dict) or not isinstance(state, dict):
            raise FileFormatError("expected an object's class, configuration and state, got others")
        metadata = self.decode(node["metadata"])
        if metadata is not None:
            state._metadata = metadata  # type: ignore[attr-defined]
        capacities, histories = node["capacities"], node["histories"]
        if len(capacities) != len(histories) or not all(c is None or type(c) is int for c in capacities):
            raise FileFormatError("expected a capacity for each edge set, got others")
        # Room for edges is bounded by what was written, so that a file cannot ask for more memory than it takes.
        room = sum(array.nbytes for array in self.arrays)
        if any(c is not None and not 0 <= c <= room for c in capacities):
            raise FileFormatError(f"expected capacities from 0 to {room}, got {capacities!r:.60}")
        return SavedObject(name, state, config, capacities, histories, self)

    def _rng(self, node: Node) -> RngState:
        size = torch.get_rng_state().numel()
        state = torch.from_numpy(self.get(node["torch"], "u", (size,)).copy())
        cuda = [torch.from_numpy(self.get(number, "u", (None,)).copy()) for number in node["cuda"]]
        number, position, has_gauss, gauss = node["numpy"]
        keys = self.get(number, "u", (624,)).copy()
        version, number, following = node["python"]
        numbers = tuple(self.get(number, "u", (625,)).tolist())
        if version != 3 or numbers[-1] > 624 or not 0 <= position <= 624 or has_gauss not in (0, 1):
            raise FileFormatError("expected the state of a Mersenne twister, got another")
        if not (following is None or isinstance(following, float)) or state.dtype != torch.uint8:
            raise FileFormatError("expected random state, got another value")
        return RngState(state, cuda, ("MT19937", keys, position, has_gauss, float(gauss)), (3, numbers, following))


def first_transaction(saved: SavedObject) -> int:
    """Return the number of the first transaction of all histories of an object, which belong together."""
    most = 0
    for node in saved.histories:
        if saved.decoder is not None:
            most = max(most, int(saved.decoder.get(node["transactions"], "i", (None,)).max(initial=-1)) + 1)
    return block_of_transactions(most)
