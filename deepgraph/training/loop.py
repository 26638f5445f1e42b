"""`fit`: a small training loop, for those who do not want to write one."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from deepgraph.errors import ArgumentError, DtypeError, ShapeError, UnsupportedOperationError
from deepgraph.sparse.randomness import Seed, root_seed, torch_stream
from deepgraph.sparse.values import edge_values
from deepgraph.training.callbacks import Callback, Run
from deepgraph.training.checks import check_kinds, pair_of
from deepgraph.training.history import History

__all__ = ["accuracy", "fit"]

Metric = Callable[[Tensor, Tensor], Any]
Data = Any


class Shuffled:
    """Batches of tensors in a new random order every time; what `fit` makes of a pair of tensors.

    Parameters
    ----------
    x, y : Tensor
        Of one length.
    batch_size : int
        At least 1; the last batch may be smaller.
    generator : torch.Generator or None
        None keeps the order.
    """

    def __init__(self, x: Tensor, y: Tensor, batch_size: int, generator: torch.Generator | None) -> None:
        if len(x) != len(y) or len(x) == 0:
            raise ShapeError(f"data: expected x and y of one length, at least 1, got {len(x)} and {len(y)}")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ArgumentError(f"batch_size: expected an integer >= 1, got {batch_size!r}")
        self.x, self.y, self.batch_size, self.generator = x, y, batch_size, generator

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch_size)

    def _order(self) -> Tensor:
        count = len(self.x)
        return torch.arange(count) if self.generator is None else torch.randperm(count, generator=self.generator)

    def skip(self, epochs: int) -> None:
        """Draw the orders of some epochs, which were trained before."""
        for _ in range(epochs):
            self._order()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count, order = len(self.x), self._order()
        for start in range(0, count, self.batch_size):
            rows = order[start : start + self.batch_size].to(self.x.device)
            yield self.x[rows], self.y[rows]


def accuracy(output: Tensor, y: Tensor) -> float:
    """Return the share of samples, in [0, 1], whose largest output (B, C) is that of the class y (B,).

    Examples
    --------
    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
    0.5
    """
    return float((output.argmax(1) == y).double().mean())


def fit(
    model: nn.Module,
    data: Data,
    *,
    optimizer: torch.optim.Optimizer | Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
    loss: Callable[[Any, Any], Tensor] = torch.nn.functional.cross_entropy,
    epochs: int = 10,
    validation: Data = None,
    metrics: Mapping[str, Metric] | None = None,
    callbacks: Sequence[Callback | Callable[[Run], Any]] = (),
    scheduler: Any = None,
    batch_size: int = 100,
    progress: bool = True,
    history: History | None = None,
    seed: Seed = None,
) -> History:
    """Return what was recorded of a training of `model`, in place, for some epochs.

    Ctrl-C ends the training after the step that runs and returns what there is; pressed twice, at once.

    Parameters
    ----------
    model : nn.Module
    data : iterable of (x, y), such as a DataLoader, or a pair of tensors (x, y)
        A pair is shuffled anew in every epoch, with `seed`, and cut into batches.
    optimizer : torch.optim.Optimizer, callable or None
        Rewirers are optimizers. A callable is given the parameters. None: Adam with learning rate 1e-3.
    loss : callable
        (outputs, y) -> scalar.
    epochs : int
        >= 1; those of `history` count.
    validation : like `data`, optional
        Evaluated after every epoch, in eval mode, in its own order; columns begin with "val_".
    metrics : mapping of str to callable, optional
        (outputs, y) -> number, averaged over samples. None: "accuracy" where y are classes.
    callbacks : sequence of Callback, or of functions of the `Run`
        A function is called after every epoch; if it returns True, the training stops.
    scheduler : learning rate scheduler, optional
        Stepped after every epoch; ReduceLROnPlateau by the loss, of `validation` where there is one. One that counts
        steps is stepped by a callback's `on_step`.
    batch_size : int
        For pairs of tensors.
    progress : bool
        Show a progress bar.
    history : History, optional
        What was recorded of a training to go on with, whose model, optimizer and random state were loaded. With the
        same integer `seed` the order of a pair of tensors goes on too.
    seed : int, Generator or None
        For the order of a pair of tensors. None draws from torch's global generator.

    Returns
    -------
    History
        Columns epoch, loss, metrics, val_..., lr, seconds; and edges where the model has edge sets. It is `history`
        where that was given, longer.

    Raises
    ------
    DtypeError
        If `model` is no nn.Module, `optimizer` no optimizer, or another argument of another kind than expected.
    ArgumentError, ShapeError
        If `epochs` or `batch_size` is not valid, data are empty or no pairs, x and y differ in length, the loss is no
        scalar, or the optimizer holds no parameter of the model.
    UnsupportedOperationError
        If the optimizer is LBFGS, which computes the loss itself.

    Examples
    --------
    >>> import deepgraph as dg
    >>> x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    >>> model = dg.MaskedDeepFFN(4, 2, [8], density=0.5, seed=0)
    >>> history = fit(model, (x, (x[:, 0] > 0).long()), epochs=3, batch_size=16, progress=False, seed=0)
    >>> history.ended, len(history), history.last["edges"], bool(history["loss"][2] < history["loss"][0])
    ('finished', 3, 24, True)
    """
    if not isinstance(model, nn.Module):
        raise DtypeError(f"model: expected an nn.Module, got {type(model).__name__}")
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ArgumentError(f"epochs: expected an integer >= 1, got {epochs!r}")
    check_kinds(loss, metrics, callbacks, scheduler, history)
    task = _Task(
        _batches(data, batch_size, torch_stream(root_seed(seed)) if _is_pair(data) else None),
        None if validation is None else _batches(validation, batch_size, None),
        loss, metrics, scheduler, [one if isinstance(one, Callback) else _Function(one) for one in callbacks],
    )  # fmt: skip
    run = Run(model, _optimizer(model, optimizer))
    if history is not None:
        _go_on(run, task, history)
    _watched(run, task, epochs, progress)
    return run.history


@dataclass
class _Task:
    """What `fit` was given besides model and optimizer, and the Ctrl-C that came meanwhile."""

    batches: Iterable[tuple[Any, Any]]
    held_out: Iterable[tuple[Any, Any]] | None
    loss: Callable[[Any, Any], Tensor]
    metrics: Mapping[str, Metric] | None
    scheduler: Any
    listeners: Sequence[Callback]
    pressed: list[int] = field(default_factory=list)


def _go_on(run: Run, task: _Task, history: History) -> None:
    """Let a run, and the order of its batches, begin where a history ends."""
    run.history, run.epoch, history.ended = history, len(history), "running"
    if isinstance(task.batches, Shuffled):
        task.batches.skip(len(history))


def _watched(run: Run, task: _Task, epochs: int, progress: bool) -> None:
    """Train under a progress bar until the end or Ctrl-C; the model is then in the mode that it was in."""
    training = run.model.training
    bar = tqdm(total=epochs, initial=run.epoch, desc="fit", unit="epoch", disable=not progress)
    try:
        with _listening_for_ctrl_c(task.pressed):
            _run_epochs(run, task, epochs, bar)
    except KeyboardInterrupt:
        run.history.ended = "interrupted"
    finally:
        bar.close()
        run.model.train(training)
        for one in task.listeners:
            one.on_end(run)


def _run_epochs(run: Run, task: _Task, epochs: int, bar: Any) -> None:
    """Train epoch by epoch until all are done, a callback stops, Ctrl-C comes or the loss diverges."""
    for one in task.listeners:
        one.on_start(run)
    while run.epoch < epochs and not run.stop:
        start = time.perf_counter()
        means, run.history.ended = _train(run, task)
        if run.history.ended != "running":
            return
        row: dict[str, Any] = {"epoch": run.epoch + 1, **means}
        if task.held_out is not None:
            found = _evaluate(run.model, task.held_out, task.loss, task.metrics)
            row |= {f"val_{name}": value for name, value in found.items()}
        row |= {"lr": run.optimizer.param_groups[0]["lr"], **_edges(run.model), "seconds": time.perf_counter() - start}
        run.epoch += 1
        run.history.append(row)
        if isinstance(task.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            task.scheduler.step(row.get("val_loss", row["loss"]))
        elif task.scheduler is not None:
            task.scheduler.step()
        for one in task.listeners:
            one.on_epoch(run)
        bar.update()
        bar.set_postfix_str(", ".join(f"{key} {row[key]:.4g}" for key in row if "loss" in key or "accuracy" in key))
    run.history.ended = "stopped" if run.stop and run.epoch < epochs else "finished"


@contextmanager
def _listening_for_ctrl_c(pressed: list[int]) -> Iterator[None]:
    """Append to `pressed` at the first Ctrl-C instead of raising anywhere, such as between the parts of an edit."""

    def note(signum: int, frame: Any) -> None:
        pressed.append(signum)
        signal.signal(signal.SIGINT, before)

    # A job in the background ignores Ctrl-C, which is meant for another; only the main thread hears it at all.
    ignored = signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None)
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Function(Callback):
    """A plain function as a callback."""

    def __init__(self, function: Callable[[Run], Any]) -> None:
        self.function = function

    def on_epoch(self, run: Run) -> None:
        """Call the function; stop if it returns True."""
        if self.function(run) is True:
            run.stop = True


def _is_pair(data: Data) -> bool:
    return isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(side, Tensor) for side in data)


def _batches(data: Data, batch_size: int, generator: torch.Generator | None) -> Iterable[tuple[Any, Any]]:
    if _is_pair(data):
        return Shuffled(data[0], data[1], batch_size, generator)
    if isinstance(data, Iterator):
        raise ArgumentError(
            "data: expected batches that can be read again, such as a list or a DataLoader, got iterator"
        )
    if isinstance(data, (Tensor, str)) or not isinstance(data, Iterable):
        raise DtypeError(
            f"data: expected a pair of tensors (x, y), or batches such as a DataLoader, got {type(data).__name__}"
        )
    found: Iterable[tuple[Any, Any]] = data
    return found


def _optimizer(model: nn.Module, given: Any) -> torch.optim.Optimizer:
    found = torch.optim.Adam(model.parameters(), lr=1e-3) if given is None else given
    if not isinstance(found, torch.optim.Optimizer) and callable(found):
        found = found(model.parameters())
    if not isinstance(found, torch.optim.Optimizer):
        raise DtypeError(f"optimizer: expected a torch.optim.Optimizer, got {type(found).__name__}")
    if isinstance(getattr(found, "optimizer", found), torch.optim.LBFGS):
        raise UnsupportedOperationError(
            "optimizer: expected one that takes gradients as they are, got LBFGS, which computes the loss again; write "
            "the loop, with optimizer.step(closure)"
        )
    mine = {id(parameter) for parameter in model.parameters()}
    if not any(id(parameter) in mine for group in found.param_groups for parameter in group["params"]):
        raise ArgumentError(
            "optimizer: expected one that holds parameters of the model, got one without any of them; build it from "
            "model.parameters()"
        )
    return found


class _Means:
    """Means over samples of a loss and of metrics."""

    def __init__(self, metrics: Mapping[str, Metric] | None) -> None:
        self.metrics = metrics
        self.sums: dict[str, float] = {}
        self.count = 0

    def add(self, loss: float, output: Any, y: Any) -> None:
        """Count a batch."""
        size = len(y) if isinstance(y, (Tensor, Sequence)) and len(y) else 1
        metrics = self.metrics
        if metrics is None:
            classes = isinstance(y, Tensor) and not y.dtype.is_floating_point and y.dim() == 1 and output.dim() == 2
            metrics = {"accuracy": accuracy} if classes else {}
        found = {"loss": loss, **{name: float(metric(output, y)) for name, metric in metrics.items()}}
        for name, value in found.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * size
        self.count += size

    def result(self) -> dict[str, float]:
        """Return the means; ArgumentError where no batch came."""
        if not self.count:
            raise ArgumentError("data: expected at least one batch, got none")
        return {name: total / self.count for name, total in self.sums.items()}


def _train(run: Run, task: _Task) -> tuple[dict[str, float], str]:
    """Train for an epoch; return means of loss and metrics over its samples, before each step, and how it ended."""
    means = _Means(task.metrics)
    run.model.train()
    for x, y in map(pair_of, task.batches):
        run.optimizer.zero_grad()
        output = run.model(x)
        value = task.loss(output, y)
        if not isinstance(value, Tensor) or value.numel() != 1:
            shown = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(f"loss: expected a scalar tensor, such as the mean over samples, got {shown}")
        if not math.isfinite(float(value.detach())):
            return {}, "diverged"
        value.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
        run.step += 1
        with torch.no_grad():
            means.add(float(value.detach()), output, y)
        # The graph of this batch must not be alive while the next one is computed.
        del output, value
        for one in task.listeners:
            one.on_step(run)
        if task.pressed:
            return {}, "interrupted"
    return means.result(), "running"


@torch.no_grad()
def _evaluate(
    model: nn.Module, batches: Iterable[Any], loss: Any, metrics: Mapping[str, Metric] | None
) -> dict[str, float]:
    """Return means of loss and metrics over samples, in eval mode."""
    means = _Means(metrics)
    model.eval()
    for x, y in map(pair_of, batches):
        output = model(x)
        means.add(float(loss(output, y)), output, y)
    return means.result()


def _edges(model: nn.Module) -> dict[str, int]:
    values = edge_values(model)
    return {"edges": sum(one.edge_set.num_edges for one in values)} if values else {}
