"""Saving and loading: graphs, modules, optimizers, rewirers, schedules, random state, tensors and plain data.

One file holds one object or a dict of them. Nothing is pickled: a module of deepgraph is rebuilt from its class name
and configuration, every other object with a `state_dict` is loaded into one that the caller has built.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from deepgraph.checkpoint.objects import Placement, build, restore_objects
from deepgraph.checkpoint.values import CheckpointDecoder, CheckpointEncoder, SavedObject
from deepgraph.errors import ArgumentError, FileFormatError
from deepgraph.graph.cached_layered import CachedLayeredGraph
from deepgraph.graph.container import write_file
from deepgraph.graph.file_checks import warn_of_refusal
from deepgraph.graph.files import parse

__all__ = ["load", "save"]

_SINGLE = "single"


def save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write an object, or a dict of objects by name, to a file, at once or not at all.

    Parameters
    ----------
    obj : object or dict of str to object
        Graphs, modules, optimizers, rewirers, learning rate schedulers, `rng_state()`, tensors, arrays, plain data.
    path : path
        An existing file is replaced; a crash while saving leaves it as it was.

    Raises
    ------
    DtypeError
        If a value is of a kind that no file holds; the message names it.
    ArgumentError
        If a name is not a string.
    TooLargeError
        If labels and attributes that fit no array exceed 64 MiB.

    Warns
    -----
    UserWarning
        Of a graph with a cycle, or with weights or biases that are not finite: `load` refuses it unless told otherwise.

    Examples
    --------
    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"epoch": 3, "losses": torch.tensor([0.5, 0.25])}, f"{folder}/run.dg")
    ...     load(f"{folder}/run.dg")
    {'epoch': 3, 'losses': tensor([0.5000, 0.2500])}
    """
    encoder = CheckpointEncoder()
    if type(obj) is not dict:
        content: Any = {_SINGLE: encoder.encode(obj, type(obj).__name__)}
    else:
        wrong = next((name for name in obj if not isinstance(name, str)), None)
        if wrong is not None:
            raise ArgumentError(
                f"expected a dict with names as keys, got the key {wrong!r}; wrap it: save({{'x': obj}})"
            )
        content = {"items": [[name, encoder.encode(value, name)] for name, value in obj.items()]}
    write_file(path, content, encoder.arrays)
    for value in obj.values() if type(obj) is dict else [obj]:
        if isinstance(value, CachedLayeredGraph):
            warn_of_refusal(value, 2)


def load(path: str | os.PathLike[str], into: Any = None, *, check: bool = True) -> Any:
    """Return what `save` wrote, with objects restored in place where `into` names them.

    Parameters
    ----------
    path : path
    into : object or dict of str to object, optional
        Objects to restore, under the names they were saved with: modules first, then all others, random state last,
        whatever their order. A module of deepgraph that is not named is built anew; of any other object that is not
        named, its `state_dict` is returned.
    check : bool
        Whether graphs must be acyclic, with finite weights and biases; modules may hold any numbers.

    Raises
    ------
    FileFormatError
        If the file is truncated, damaged, foreign or newer, or does not fit an object; or if a graph fails the
        check. All objects of `into` are then as they were.
    ArgumentError
        If `into` names something that is not in the file, or cannot be restored in place.
    EditRefusedError
        If a module of `into` waits for a backward.

    Examples
    --------
    >>> import tempfile, torch
    >>> a, b = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save({"model": a, "step": 7}, f"{folder}/run.dg")
    ...     found = load(f"{folder}/run.dg", into={"model": b})
    >>> found["model"] is b, found["step"], bool((a.weight == b.weight).all())
    (True, 7, True)
    """
    name = os.fspath(path)
    values = parse(path, lambda content, arrays: _decode(content, arrays, check))
    single = type(values) is not dict
    found = {_SINGLE: values.value} if single else values
    wanted: dict[str, Any] = {} if into is None else ({_SINGLE: into} if single else into)
    if not isinstance(wanted, Mapping):
        raise ArgumentError(f"into: expected a dict of objects by name, got {type(into).__name__}")
    placements = []
    for key, target in wanted.items():
        if key not in found:
            raise ArgumentError(f"into: expected names of {sorted(found)}, which {name!s} holds, got {key!r}")
        placements.append(Placement(key, found[key], target))
    built = {key: _built(value, name) for key, value in found.items() if key not in wanted}
    restore_objects(placements, name)
    result = {key: wanted[key] if key in wanted else built[key] for key in found}
    return result[_SINGLE] if single else result


class _Single:
    """What a file holds that was saved without a name."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _decode(content: Any, arrays: list[Any], check: bool) -> Any:
    decoder = CheckpointDecoder(arrays, check)
    if _SINGLE in content:
        return _Single(decoder.decode(content[_SINGLE]))
    items = [(name, decoder.decode(node)) for name, node in content["items"]]
    if not all(isinstance(name, str) for name, _ in items) or len(dict(items)) < len(items):
        raise FileFormatError("expected names, each once, got others")
    return dict(items)


def _built(value: Any, path: str) -> Any:
    """Return a value with the objects inside it built anew, or their state where that cannot be."""
    if isinstance(value, SavedObject):
        return build(value, path)
    if type(value) is dict:
        return {key: _built(item, path) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_built(item, path) for item in value)
    return value
