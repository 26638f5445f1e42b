"""`EdgeMonitor`: a Lightning callback that logs what happens to the edges of a model.

Rewirers need no callback: `configure_optimizers` returns one like any optimizer. Lightning's checkpoints hold edges,
weights and the rewirer's state; the callback adds the state of the random generators and the rows of its history.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch

from deepgraph.checkpoint import RngState, rng_state
from deepgraph.errors import MissingDependencyError
from deepgraph.rewire import Rewirer, exploration
from deepgraph.sparse.values import edge_values
from deepgraph.training.history import History

__all__ = ["EdgeMonitor"]  # noqa: F822 - made when it is asked for


def __getattr__(name: str) -> Any:
    """Return the class `EdgeMonitor`, which is made when Lightning can be imported.

    Raises
    ------
    MissingDependencyError
        If it cannot.
    """
    if name != "EdgeMonitor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _made()


def _callback() -> Any:
    for package in ("lightning.pytorch", "pytorch_lightning"):
        try:
            return import_module(package).Callback
        except ImportError:
            continue
    raise MissingDependencyError(
        "EdgeMonitor: expected the package lightning, which is not installed; run pip install lightning"
    )


def edge_facts(model: torch.nn.Module, optimizers: list[Any]) -> dict[str, float]:
    """Return edges, density, share of pairs ever used, and edges dropped and grown so far.

    Parameters
    ----------
    model : nn.Module
        One without edge sets has no facts.
    optimizers : list
        Of which those that are rewirers, or hold one in `optimizer`, count.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0)
    >>> edge_facts(model, [])
    {'edges': 18.0, 'density': 0.25, 'exploration': 0.25}
    """
    values = edge_values(model)
    if not values:
        return {}
    edges = sum(one.edge_set.num_edges for one in values)
    pairs = sum(one.edge_set.num_admissible for one in values)
    facts = {"edges": float(edges), "density": edges / max(pairs, 1), "exploration": exploration(model)}
    rewirers = [found for one in optimizers if isinstance(found := getattr(one, "_optimizer", one), Rewirer)]
    if rewirers:
        rows = [row for rewirer in rewirers for row in rewirer.log]
        facts |= {name: float(sum(row[name] for row in rows)) for name in ("dropped", "grown")}
    return facts


@cache
def _made() -> type:
    base = _callback()

    class EdgeMonitor(base):  # type: ignore[valid-type,misc]
        """Logs the edges of the module after every epoch of training, and keeps a `History` of all metrics.

        Parameters
        ----------
        prefix : str
            Put before the names of what is logged: edges, density, exploration, dropped, grown.

        Attributes
        ----------
        history : History
            A row per epoch with Lightning's metrics and the edges, as `deepgraph.table` takes it.
        """

        def __init__(self, prefix: str = "") -> None:
            super().__init__()
            self.prefix, self.history = prefix, History()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            """Log the edges, and add a row to the history."""
            facts = {f"{self.prefix}{name}": value for name, value in edge_facts(pl_module, trainer.optimizers).items()}
            if facts:
                pl_module.log_dict(facts, rank_zero_only=True)
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self.history.append({"epoch": trainer.current_epoch + 1, **metrics, **facts})

        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
            """Note that the training came to its end."""
            self.history.ended = "finished"

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            """Note that it did not."""
            self.history.ended = "interrupted"

        def state_dict(self) -> dict[str, Any]:
            """Return the rows and the state of the random generators, for Lightning's checkpoint."""
            now = rng_state()
            kind, keys, *rest = now.numpy_state
            # Tensors and plain numbers only, which Lightning reads back without trusting the file.
            states = {"torch": now.torch_state, "numpy": [kind, keys.tolist(), *rest], "python": now.python_state}
            return {"rows": self.history.rows, "random": states}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            """Take over what `state_dict` returned."""
            self.history = History(state_dict["rows"])
            states = state_dict["random"]
            kind, keys, *rest = states["numpy"]
            numbers = kind, np.asarray(keys, np.uint32), *rest
            RngState(states["torch"].cpu(), [], numbers, tuple(states["python"])).restore()

    EdgeMonitor.__qualname__ = "EdgeMonitor"
    return EdgeMonitor
