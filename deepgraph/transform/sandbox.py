"""Run a model without leaving a mark on it: modes, buffers, random states, backends are put back, also on failure."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deepgraph.transform.provenance import storage_key

__all__ = ["Guard", "Mode", "Sandbox", "module_stack"]


class Sandbox:
    """Eval mode, no gradients and plain kernels for a model while the context lasts; everything restored after.

    Parameters
    ----------
    model : callable
        An nn.Module, or a function of tensors.
    """

    def __init__(self, model: Callable[..., Any]) -> None:
        self._modules = list(model.modules()) if isinstance(model, nn.Module) else []
        self._own = {
            storage_key(tensor)
            for module in self._modules
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
            if tensor.layout == torch.strided
        }
        self._saved: dict[int, tuple[Tensor, Tensor]] = {}
        self._stack = ExitStack()

    def save_before_write(self, tensor: Tensor) -> None:
        """Keep a copy of a tensor that is about to be written to, if it belongs to the model.

        Parameters
        ----------
        tensor : torch.Tensor
            The operand that an in-place operation changes.
        """
        if tensor.layout != torch.strided:
            return
        key = storage_key(tensor)
        if key in self._own and key not in self._saved:
            whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(tensor.untyped_storage())
            self._saved[key] = (whole, whole.clone())

    def __enter__(self) -> Sandbox:
        """Switch to eval mode, without gradients, without fused kernels that hide the structure."""
        with ExitStack() as stack:
            stack.callback(_restore_random(torch.random.get_rng_state(), random.getstate(), np.random.get_state()))
            plain = [module for module in self._modules if not isinstance(module, torch.jit.ScriptModule)]
            stack.callback(_restore_tensors, [(module, _tensors_of(module)) for module in plain])
            stack.callback(self._restore_values)
            # A frozen script has no mode.
            modal = [module for module in self._modules if hasattr(module, "training")]
            stack.callback(_restore_modes, [(module, module.training) for module in modal])
            fast_path = torch.backends.mha.get_fastpath_enabled()
            stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
            torch.backends.mha.set_fastpath_enabled(False)
            stack.callback(torch._C._set_mkldnn_enabled, torch._C._get_mkldnn_enabled())
            torch._C._set_mkldnn_enabled(False)
            if "torch._dynamo" in sys.modules:
                # A compiled model runs as it was written; without the compiler loaded there is none.
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(torch.no_grad())
            for module in modal:
                # The attribute, not eval(): models override train() to merge or to freeze weights.
                module.training = False
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """Put everything back."""
        self._stack.close()

    def _restore_values(self) -> None:
        for whole, copy in self._saved.values():
            whole.copy_(copy)


class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that does not load torch's compiler."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Otherwise torch imports its compiler, seconds long, to keep it out of a method that it never compiles.
        return False


class Guard(Mode):  # type: ignore[no-untyped-call]
    """Tells a sandbox of every write while it is active, for runs without a tracer.

    Parameters
    ----------
    sandbox : Sandbox
        The one around the run.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self._sandbox = sandbox

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation; what it overwrites is saved before."""
        if func._schema.is_mutable:
            for leaf in tree_leaves((args, kwargs or {})):
                if isinstance(leaf, Tensor):
                    self._sandbox.save_before_write(leaf)
        return func(*args, **(kwargs or {}))


def _tensors_of(module: nn.Module) -> tuple[dict[str, Tensor | None], dict[str, Tensor]]:
    # Pruning and the old weight norm keep the effective weight as a plain attribute that each forward pass replaces.
    plain = {name: value for name, value in vars(module).items() if isinstance(value, Tensor)}
    return dict(module._buffers), plain


def _restore_tensors(before: list[tuple[nn.Module, tuple[dict[str, Tensor | None], dict[str, Tensor]]]]) -> None:
    for module, (buffers, plain) in before:
        if module._buffers.keys() != buffers.keys() or any(
            module._buffers[name] is not buffers[name] for name in buffers
        ):
            module._buffers.clear()
            module._buffers.update(buffers)
        vars(module).update(plain)


def _restore_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        module.training = training


def _restore_random(torch_state: Tensor, python_state: Any, numpy_state: Any) -> Callable[[], None]:
    in_use = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if in_use else None

    def restore() -> None:
        torch.random.set_rng_state(torch_state)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)

    return restore


@contextmanager
def module_stack(model: Callable[..., Any]) -> Iterator[list[tuple[str, nn.Module, int]]]:
    """Yield the stack of module calls that are running: (path, module, number of the call).

    Two global hooks keep it up to date for the time of the context; no module is touched.

    Parameters
    ----------
    model : callable
        The model whose submodules have paths; other modules are known by the name of their class.
    """
    paths = {id(module): name for name, module in model.named_modules()} if isinstance(model, nn.Module) else {}
    stack: list[tuple[str, nn.Module, int]] = []
    calls = 0

    def enter(module: nn.Module, args: Any) -> None:
        nonlocal calls
        calls += 1
        stack.append((paths.get(id(module), type(module).__name__), module, calls))

    def leave(module: nn.Module, args: Any, result: Any) -> None:
        if stack and stack[-1][1] is module:
            stack.pop()

    before = nn.modules.module.register_module_forward_pre_hook(enter)
    after = nn.modules.module.register_module_forward_hook(leave, always_call=True)
    try:
        yield stack
    finally:
        before.remove()
        after.remove()
