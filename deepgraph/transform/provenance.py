"""Where every element of every storage comes from: node ids of activations, support and parameter entries of weights.

A tensor's ids are the id array of its storage, seen with the tensor's own size, stride and offset. Views and in-place
writes through views need no rule for that reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from deepgraph.errors import UnsupportedOperationError

__all__ = ["CONSTANT", "DERIVED", "OPAQUE", "OTHER_SAMPLE", "Provenance", "Table", "flat_values", "storage_key"]

CONSTANT = -1
"""Id of an element that does not depend on the input."""
OTHER_SAMPLE = -2
"""Id of an element of the second copy of the sample, which runs along to find operations that mix samples."""
DERIVED = -3
"""Id of an element that depends on the input, but through a step without a derivative (a comparison, an index)."""

OPAQUE = -4
"""Id of an element that depends on the input in a way that no rule describes; an error where it is used."""


class Table:
    """One int64 per element of every storage that was written to; other storages read as a default everywhere.

    Parameters
    ----------
    default : int
        What an element holds that nobody wrote.
    """

    def __init__(self, default: int) -> None:
        self.default = default
        self._entries: dict[int, Tensor] = {}
        # A storage that is freed could come back as another tensor's: those with entries live as long as the table.
        self._alive: list[object] = []

    def has(self, tensor: Tensor) -> bool:
        """Return whether the storage of a tensor was written to."""
        return tensor.layout == torch.strided and storage_key(tensor) in self._entries

    def read(self, tensor: Tensor) -> Tensor:
        """Return the entries of a tensor's elements, int64, of the tensor's shape; a view, not to be written to."""
        if not self.has(tensor):
            return torch.full((), self.default, dtype=torch.int64).expand(tensor.shape)
        return self._view(tensor)

    def write(self, tensor: Tensor, entries: Tensor) -> None:
        """Set the entries of a tensor's elements.

        Parameters
        ----------
        tensor : torch.Tensor
            Any strided tensor.
        entries : torch.Tensor, int64
            Broadcastable to the tensor's shape.
        """
        if not self.has(tensor):
            if bool((entries == self.default).all()):
                return
            storage = tensor.untyped_storage()
            count = storage.nbytes() // tensor.element_size()
            self._entries[storage_key(tensor)] = torch.full((count,), self.default, dtype=torch.int64)
            self._alive.append(storage)
        self._view(tensor).copy_(entries)

    def _view(self, tensor: Tensor) -> Tensor:
        entries = self._entries[storage_key(tensor)]
        if len(entries) * tensor.element_size() != tensor.untyped_storage().nbytes():
            raise UnsupportedOperationError(
                f"expected every view of a tensor to have elements of one size, got a view as {tensor.dtype} of a "
                "tensor whose elements have another size; extract cannot follow bits, replace the view by a conversion"
            )
        return entries.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def storage_key(tensor: Tensor) -> int:
    """Return the identity of the storage that a strided tensor looks at."""
    return int(tensor.untyped_storage()._cdata)


def flat_values(tensors: Iterable[Tensor]) -> Tensor:
    """Return the elements of tensors, one after the other, float64; zeros for those that are sparse or complex.

    Examples
    --------
    >>> flat_values([torch.ones(2), torch.zeros(1, 1)]).tolist()
    [1.0, 1.0, 0.0]
    """
    parts = [torch.zeros(0, dtype=torch.float64)]
    for tensor in tensors:
        plain = tensor.layout == torch.strided and not tensor.is_complex()
        parts.append(tensor.detach().cpu().double().reshape(-1) if plain else parts[0].new_zeros(tensor.numel()))
    return torch.cat(parts)


class Provenance:
    """The tables of one trace.

    Parameters
    ----------
    parameters : mapping of str to torch.Tensor
        The parameters of the model, whose entries edges are traced back to; tied ones once.
    buffers : mapping of str to torch.Tensor
        Its buffers; those named `mask` or `..._mask` declare the support of what they multiply.
    """

    def __init__(self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> None:
        self.ids = Table(CONSTANT)
        self.origin = Table(-1)
        self.support = Table(-1)
        self.names: list[str] = []
        self.starts: list[int] = []
        self._pending: dict[int, list[tuple[int, Tensor]]] = {}
        self._masks = {storage_key(mask) for name, mask in buffers.items() if _declares(name, mask)}
        self._values = list(parameters.values())
        self._flat: Tensor | None = None
        self._used: list[Tensor] = []
        total = 0
        for name, parameter in parameters.items():
            self.names.append(name)
            self.starts.append(total)
            if parameter.layout == torch.strided:
                self._pending.setdefault(storage_key(parameter), []).append((total, parameter))
            total += parameter.numel()
        self.num_entries = total

    def values(self) -> Tensor:
        """Return the entries of all parameters, one after the other, shape (num_entries,), float64."""
        if self._flat is None:
            self._flat = flat_values(self._values)
        return self._flat

    def use(self, *operands: object) -> None:
        """Note operands whose parameter entries go into the graph in a way that no edge and no bias keeps track of."""
        for operand in operands:
            if isinstance(operand, Tensor) and self.has_origin(operand):
                self._used.append(self.origins(operand).unique())  # type: ignore[no-untyped-call]

    def used(self) -> Tensor:
        """Return the parameter entries that `use` was told of, counted over all parameters, int64."""
        found: Tensor = torch.cat([torch.zeros(0, dtype=torch.int64), *self._used]).unique()  # type: ignore[no-untyped-call]
        return found[found >= 0]

    def tracked(self, tensor: Tensor) -> bool:
        """Return whether any element of the tensor's storage depends on the input."""
        return self.ids.has(tensor)

    def origins(self, tensor: Tensor) -> Tensor:
        """Return the parameter entries behind a tensor's elements, int64 of the tensor's shape, -1 for none."""
        self._number(tensor)
        return self.origin.read(tensor)

    def has_origin(self, tensor: Tensor) -> bool:
        """Return whether elements of the tensor's storage may be parameter entries."""
        return tensor.layout == torch.strided and (storage_key(tensor) in self._pending or self.origin.has(tensor))

    def _number(self, tensor: Tensor) -> None:
        # Parameters are numbered when first asked for: most traces touch few of a large model's storages as weights.
        if tensor.layout == torch.strided:
            for start, parameter in self._pending.pop(storage_key(tensor), ()):
                entries = torch.arange(start, start + parameter.numel()).view(parameter.shape)
                self.origin.write(parameter.detach(), entries)

    def is_mask(self, tensor: Tensor) -> bool:
        """Return whether a constant declares a support: a buffer named so, or a tensor of booleans."""
        return tensor.dtype == torch.bool or (tensor.layout == torch.strided and storage_key(tensor) in self._masks)

    def any_tracked(self, tensors: Iterable[Tensor]) -> bool:
        """Return whether any of the tensors depends on the input."""
        return any(self.tracked(tensor) for tensor in tensors)


def _declares(name: str, mask: Tensor) -> bool:
    last = name.rpartition(".")[2]
    return mask.layout == torch.strided and (last == "mask" or last.endswith("_mask"))
