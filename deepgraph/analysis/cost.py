"""What a graph costs as a network: parameters, arithmetic, bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepgraph.analysis.edges import EdgeArrays, arrays_of
from deepgraph.errors import ArgumentError

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source

__all__ = ["Cost", "bytes_bitmask", "bytes_csr", "bytes_dense", "flops", "network_cost", "parameters", "weight_bytes"]

_INDEX_BYTES = 4
_POINTER_BYTES = 8


@dataclass(frozen=True)
class Cost:
    """What a graph costs as a network.

    Attributes
    ----------
    parameters : int
        One weight per edge and one bias per node that is no input; slopes are not counted.
    flops : int
        Floating-point operations of one forward pass of one sample.
    bytes_csr, bytes_bitmask, bytes_dense : int
        Bytes of the weights in three storages, biases not counted.
    """

    parameters: int
    flops: int
    bytes_csr: int
    bytes_bitmask: int
    bytes_dense: int


def network_cost(graph: Source, value_bytes: int = 4) -> Cost:
    """Return parameters, operations and bytes of a graph as a network. O(E).

    Parameters
    ----------
    value_bytes : int
        Bytes of one weight, >= 1; 4 for float32.

    Raises
    ------
    ArgumentError
        If `value_bytes` is below 1.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> network_cost(EdgeArrays.from_arrays([0, 1], [2, 2], 3))
    Cost(parameters=3, flops=4, bytes_csr=48, bytes_bitmask=9, bytes_dense=8)
    """
    view = arrays_of(graph)
    return Cost(parameters(view), flops(view), *(weight_bytes(view, storage, value_bytes) for storage in _STORAGES))


def parameters(graph: Source) -> int:
    """Return the number of parameters: one weight per edge and one bias per node that is no input. O(N).

    An entry that many edges share, as in a convolution read out as neurons, is counted once per edge.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> parameters(EdgeArrays.from_arrays([0, 1], [2, 2], 3))
    3
    """
    view = arrays_of(graph)
    return view.num_edges + int(np.count_nonzero(~view.is_input))


def flops(graph: Source) -> int:
    """Return the floating-point operations of one forward pass of one sample: 2 per edge. O(1).

    A unit of fan-in k takes k products, k - 1 sums and the sum with its bias; activations are not counted.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> flops(EdgeArrays.from_arrays([0, 1], [2, 2], 3))
    4
    """
    return 2 * arrays_of(graph).num_edges


_STORAGES: dict[str, Callable[[EdgeArrays, int], int]] = {
    "csr": lambda view, value: view.num_edges * (value + _INDEX_BYTES) + (view.num_nodes + 1) * _POINTER_BYTES,
    "bitmask": lambda view, value: view.num_edges * value + int(((view.pairs.admissible + 7) // 8).sum()),
    "dense": lambda view, value: int(view.pairs.admissible.sum()) * value,
}


def weight_bytes(graph: Source, storage: str, value_bytes: int = 4) -> int:
    """Return the bytes that the weights of a graph take in one storage, biases not counted. O(E).

    Parameters
    ----------
    storage : {"csr", "bitmask", "dense"}
        "csr": compressed rows, a value and a 4-byte index per edge and 8 bytes per row. "bitmask": a value per edge and
        one bit per pair of the stage pairs with edges, each padded to whole bytes. "dense": full matrices of these.
    value_bytes : int
        Bytes of one weight, >= 1; 4 for float32.

    Raises
    ------
    ArgumentError
        If `storage` is none of these, or `value_bytes` is below 1.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> view = EdgeArrays.from_arrays([0, 1], [2, 2], 3)
    >>> [weight_bytes(view, storage) for storage in ("csr", "bitmask", "dense")]
    [48, 9, 8]
    """
    if storage not in _STORAGES:
        raise ArgumentError(f"storage must be one of {', '.join(_STORAGES)}, got {storage!r}")
    if value_bytes < 1:
        raise ArgumentError(f"value_bytes must be at least 1, got {value_bytes}")
    return _STORAGES[storage](arrays_of(graph), value_bytes)


def bytes_csr(graph: Source, value_bytes: int = 4) -> int:
    """Return the bytes of the weights in compressed rows; `weight_bytes` says what counts and what raises.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> bytes_csr(EdgeArrays.from_arrays([0, 1], [2, 2], 3))
    48
    """
    return weight_bytes(graph, "csr", value_bytes)


def bytes_bitmask(graph: Source, value_bytes: int = 4) -> int:
    """Return the bytes of the weights beside a bit per pair; `weight_bytes` says what counts and what raises.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> bytes_bitmask(EdgeArrays.from_arrays([0, 1], [2, 2], 3))
    9
    """
    return weight_bytes(graph, "bitmask", value_bytes)


def bytes_dense(graph: Source, value_bytes: int = 4) -> int:
    """Return the bytes of the weights as full matrices; `weight_bytes` says what counts and what raises.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> bytes_dense(EdgeArrays.from_arrays([0, 1], [2, 2], 3))
    8
    """
    return weight_bytes(graph, "dense", value_bytes)
