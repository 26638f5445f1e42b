"""Tasks over spawned processes of one thread each, and files that are whole or not there."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path
from typing import Any

from deepgraph.errors import ArgumentError

__all__ = ["num_workers", "run_tasks", "write_whole"]

# Read by BLAS and OpenMP when they are loaded, so they have to be set before a process starts.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def num_workers(workers: int | None, tasks: int) -> int:
    """Return the number of processes: as many as cores that this process may use, and no more than tasks; 0 for none.

    Raises
    ------
    ArgumentError
        If `workers` is negative.

    Examples
    --------
    >>> num_workers(8, tasks=3), num_workers(0, tasks=3)
    (3, 0)
    """
    if workers is not None and workers < 0:
        raise ArgumentError(f"workers must be a number of processes >= 0, or None for one per core; got {workers}")
    if workers is None:
        affinity = getattr(os, "sched_getaffinity", None)
        workers = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    return min(workers, tasks)


def run_tasks(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: int | None = None
) -> Iterator[tuple[int, Any]]:
    """Yield `(index, function(*tasks[index]))` as results come in, each computed on one thread.

    Parameters
    ----------
    function : callable
        With workers: defined in a module that a new process can import.
    tasks : sequence of tuple
        The arguments of each call.
    workers : int or None
        Spawned processes; None takes one per core, 0 computes in this process.

    Raises
    ------
    ArgumentError
        If `workers` is negative, function and arguments cannot be sent to another process, or a process died.

    Notes
    -----
    Ctrl-C, an error in a task or closing the iterator ends all processes.

    Examples
    --------
    >>> sorted(run_tasks(divmod, [(7, 2), (9, 4)], workers=0))
    [(0, (3, 1)), (1, (2, 1))]
    """
    processes = num_workers(workers, len(tasks))
    if not processes:
        for index, task in enumerate(tasks):
            with _one_torch_thread():
                result = function(*task)
            yield index, result
        return
    _check_sendable(function, tasks[0])
    with _one_thread_in_children():
        pool = ProcessPoolExecutor(
            processes, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_process
        )
        try:
            futures: dict[Future[Any], int] = {pool.submit(function, *task): index for index, task in enumerate(tasks)}
            for future in as_completed(futures):
                yield futures[future], future.result()
            pool.shutdown()
        except BrokenProcessPool as error:
            raise ArgumentError(
                "a worker process ended before its task did: expected functions of a module that a new process can "
                'import, a script that starts with `if __name__ == "__main__":`, and enough memory for all '
                "workers; pass fewer workers, or workers=0 to compute in this process"
            ) from error
        finally:
            running = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            for process in running:
                process.join()


def _check_sendable(function: Callable[..., Any], task: tuple[Any, ...]) -> None:
    """Raise `ArgumentError` where another process could not find the function, or one among its arguments."""
    try:
        pickle.dumps((function, task))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ArgumentError(
            f"expected functions that another process can import, got one that it cannot ({error}); define it at the "
            "top of a module, or pass workers=0 to compute in this process"
        ) from error


def _begin_process() -> None:
    """Set up a worker: one thread; Ctrl-C is for the parent, which ends its workers, also by being killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def _end_with_parent() -> None:
    """End this process when its parent has ended: one that was killed could not tell, and its workers wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def _one_thread_in_children() -> Iterator[None]:
    """Let processes that start meanwhile compute on one thread."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Compute on one thread meanwhile, so that results are those of a worker."""
    torch = sys.modules.get("torch")
    if torch is None:  # nothing computes with it yet
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file so that at any moment it holds the old text or the new one, whole.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder) / "a.json", "{}")
    ...     print((Path(folder) / "a.json").read_text())
    {}
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
