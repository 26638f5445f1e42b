"""Whether two models compute the same: run both, compare the results, and say which module differs first."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from deepgraph.errors import EditRefusedError
from deepgraph.transform.sandbox import Guard, Sandbox

__all__ = ["check_same", "run_quietly"]

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Relative to the largest result: sums are added up in another order."""
_COARSE = 2e-2


def run_quietly(model: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the tensors that a model returns in eval mode; nothing of the model or of the inputs changes.

    Parameters
    ----------
    model : nn.Module
        The model.
    inputs, kwargs : tuple, dict
        Its arguments.
    """
    with Sandbox(model) as sandbox, Guard(sandbox):
        result = model(*copy.deepcopy(inputs), **copy.deepcopy(kwargs))
    return [leaf.detach() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


def check_same(model: nn.Module, small: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise if a smaller copy of a model computes something else.

    Parameters
    ----------
    model, small : nn.Module
        With the same modules.
    inputs, kwargs : tuple, dict
        Arguments of both.

    Raises
    ------
    EditRefusedError
        Names the module that fails, or the first one whose results differ.
    """
    with _Calls(model) as calls:
        wanted = run_quietly(model, inputs, kwargs)
    with _Calls(small) as found:
        try:
            got = run_quietly(small, inputs, kwargs)
        except Exception as error:
            where = _place(small, found.running[-1])
            raise EditRefusedError(
                f"expected a compact model that runs, got {type(error).__name__} in {where}: {error}; it was written "
                "for a fixed number of channels: take sizes from x.shape instead"
            ) from error
    if len(wanted) == len(got) and all(_agree(a, b) for a, b in zip(wanted, got, strict=True)):
        return
    pairs = zip(calls.ended, found.ended, strict=False)
    at = next((path for (path, a), (_, b) in pairs if a.shape == b.shape and not _agree(a, b)), "")
    largest = max((_difference(a, b) for a, b in zip(wanted, got, strict=False)), default=float("inf"))
    raise EditRefusedError(
        f"expected the compact model to compute the same, got a difference of {largest:g} that starts in "
        f"{_place(small, at)}: the model orders its channels in a way that compact does not follow"
    )


def _place(model: nn.Module, path: str) -> str:
    name = type(model.get_submodule(path)).__name__
    return f"module {path!r} ({name})" if path else f"the model ({name})"


def _agree(a: Tensor, b: Tensor) -> bool:
    """Return whether two results are the same up to rounding; those of different shapes are not compared."""
    return a.shape == b.shape and _difference(a, b) <= _TOLERANCE.get(a.dtype, _COARSE)


def _difference(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape:
        return float("inf")
    if not a.numel() or torch.equal(a, b):
        return 0.0
    scale = max(1.0, float(a.double().abs().max()))
    return float((a.double() - b.double()).abs().max()) / scale


class _Calls:
    """The calls of modules of a model while the context lasts: those that run, and those that ended, with results."""

    def __init__(self, model: nn.Module) -> None:
        self.running: list[str] = [""]
        self.ended: list[tuple[str, Tensor]] = []
        self._model = model
        self._hooks = ExitStack()

    def __enter__(self) -> _Calls:
        for path, module in self._model.named_modules():
            self._hooks.callback(module.register_forward_pre_hook(self._enter(path)).remove)
            self._hooks.callback(module.register_forward_hook(self._leave).remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.close()

    def _enter(self, path: str) -> Any:
        return lambda module, args: self.running.append(path)

    def _leave(self, module: nn.Module, args: Any, result: Any) -> None:
        path = self.running.pop()
        self.ended.append((path, result.detach().clone() if isinstance(result, Tensor) else torch.zeros(0)))
