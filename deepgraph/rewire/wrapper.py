"""`Wrapper`: an optimizer around an optimizer, with the groups, the state and the hooks that loops look for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

import torch

from deepgraph.errors import DtypeError

__all__ = ["Wrapper"]


class Wrapper(torch.optim.Optimizer):
    """A torch optimizer whose `param_groups` and `state` are those of another, also after that one loads a state.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        The wrapped one.

    Raises
    ------
    DtypeError
        If `optimizer` is no torch optimizer, or wraps one already.

    Examples
    --------
    >>> inner = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
    >>> Wrapper(inner).param_groups is inner.param_groups
    True
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer) or isinstance(optimizer, Wrapper):
            raise DtypeError(
                "optimizer: expected a torch.optim.Optimizer such as torch.optim.SGD(model.parameters(), lr=0.1), "
                f"got {type(optimizer).__name__}"
            )
        # The base class sets its hooks up with the groups of the wrapped optimizer; from then on they are shared.
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self.optimizer = optimizer
        self._attach()

    def __getstate__(self) -> dict[str, Any]:
        # The base class would keep groups and state only, and hooks are not copied: they belong to this object.
        return {name: entry for name, entry in self.__dict__.items() if not name.endswith("_hooks")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._attach()

    def _attach(self) -> None:
        """Share groups and state with the wrapped optimizer from now on."""
        self._share()
        self.optimizer.register_load_state_dict_post_hook(_sharing(ref(self)))

    def _share(self) -> None:
        """Show the wrapped optimizer's groups and state as one's own; loading a state replaces them."""
        self.param_groups, self.state = self.optimizer.param_groups, self.optimizer.state
        self.defaults = self.optimizer.defaults

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set gradients to zero."""
        self.optimizer.zero_grad(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group to the wrapped optimizer."""
        if "optimizer" in self.__dict__:
            self.optimizer.add_param_group(param_group)
        else:
            super().add_param_group(param_group)


def _sharing(this: ref[Wrapper]) -> Callable[[torch.optim.Optimizer], None]:
    """Return a hook that shares groups and state anew; it does not keep the wrapper alive."""

    def share(_: torch.optim.Optimizer) -> None:
        wrapper = this()
        if wrapper is not None:
            wrapper._share()

    return share
