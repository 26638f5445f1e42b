"""`sparsify`: edge sets for the weights of any PyTorch module, in place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError, DtypeError
from deepgraph.kernels.activations import activation as activation_named
from deepgraph.priors.densities import edge_budget, edge_counts
from deepgraph.sparse.build import bipartite_edges, check_density
from deepgraph.sparse.initialisation import draw_weights
from deepgraph.sparse.masked_weight import GradientMask, WeightEdges, WeightValues, hold
from deepgraph.sparse.randomness import Seed, numpy_stream, root_seed, torch_stream
from deepgraph.sparse.values import HELD, Addresses, edge_values

__all__ = ["Slot", "clear_absent", "sparsify", "weight_masks", "weight_slots"]

Distribution = Literal["uniform", "er", "erk", "igq"]


class Slot:
    """A weight, or some rows of one, that takes an edge set.

    Parameters
    ----------
    module : nn.Module
        Owner of the parameter.
    parameter_name : str
        Its name in the module.
    name : str
        Full name in the model, with `.q`, `.k`, `.v` behind it for the parts of attention's `in_proj_weight`.
    shape : tuple of int
        (out, in, *kernel) of this part, or (in, out, *kernel) of a transposed convolution; what `edge_counts` takes.
    addresses : Addresses
        Sources = in x kernel positions, targets = out.
    """

    def __init__(
        self, module: nn.Module, parameter_name: str, name: str, shape: tuple[int, ...], addresses: Addresses
    ) -> None:
        self.module, self.parameter_name, self.name = module, parameter_name, name
        self.shape, self.addresses = shape, addresses

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter."""
        found: nn.Parameter = getattr(self.module, self.parameter_name)
        return found

    @property
    def num_sources(self) -> int:
        """Number of sources, R."""
        return len(self.addresses.column)

    @property
    def num_targets(self) -> int:
        """Number of targets, C."""
        return len(self.addresses.row)


def _rows(weight: Tensor, start: int = 0, stop: int | None = None) -> tuple[tuple[int, ...], Addresses]:
    """Return shape and addresses of rows of a weight (out, in, *kernel)."""
    stop = len(weight) if stop is None else stop
    sources = math.prod(weight.shape[1:])
    addresses = Addresses(np.arange(start, stop) * sources, np.arange(sources), tuple(weight.shape))
    return (stop - start, *weight.shape[1:]), addresses


def _transposed(weight: Tensor, groups: int) -> tuple[tuple[int, ...], Addresses]:
    """Return shape and addresses of a weight (in, out / groups, *kernel)."""
    outs, kernel = weight.shape[1], math.prod(weight.shape[2:])
    into = weight.shape[0] // groups
    target = np.arange(groups * outs)
    row = (target // outs * into * outs + target % outs) * kernel
    source = np.arange(into * kernel)
    column = source // kernel * outs * kernel + source % kernel
    return tuple(weight.shape), Addresses(row, column, tuple(weight.shape))


def _attention(module: nn.MultiheadAttention) -> Iterator[tuple[str, str, tuple[tuple[int, ...], Addresses]]]:
    if module.in_proj_weight is not None:
        size = module.embed_dim
        for index, part in enumerate("qkv"):
            yield "in_proj_weight", f".{part}", _rows(module.in_proj_weight, index * size, (index + 1) * size)
        return
    for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
        yield name, "", _rows(getattr(module, name))


def _weights_of(module: nn.Module) -> Iterator[tuple[str, str, tuple[tuple[int, ...], Addresses]]]:
    """Yield `(name of the parameter, suffix of the edge set, (shape, addresses))` of what `sparsify` takes."""
    transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    if isinstance(module, transposed):
        yield "weight", "", _transposed(module.weight, module.groups)
    elif isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        yield "weight", "", _rows(module.weight)
    elif isinstance(module, nn.MultiheadAttention):
        yield from _attention(module)
    elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        for name, parameter in module.named_parameters(recurse=False):
            if name.startswith("weight"):
                yield name, "", _rows(parameter)


def weight_slots(model: nn.Module) -> list[Slot]:
    """Return the weights of a model that take an edge set, in the order of its modules; a shared one once.

    Examples
    --------
    >>> [(slot.name, slot.shape) for slot in weight_slots(nn.Sequential(nn.Conv2d(3, 8, 5), nn.Linear(8, 2)))]
    [('0.weight', (8, 3, 5, 5)), ('1.weight', (2, 8))]
    """
    taken = {id(one.parameter) for one in edge_values(model)}
    found: list[Slot] = []
    for path, module in model.named_modules():
        seen: set[int] = set()
        if any(map(torch.nn.parameter.is_lazy, module.parameters(recurse=False))):
            raise ArgumentError(
                f"{path or type(module).__name__}: expected weights, got a {type(module).__name__} that has none yet; "
                "run the model on a batch first"
            )
        for name, suffix, (shape, addresses) in _weights_of(module):
            parameter = getattr(module, name)
            if not isinstance(parameter, nn.Parameter):
                raise ArgumentError(
                    f"{path or type(module).__name__}: expected a plain parameter {name!r}, got one that is computed "
                    "by a parametrization or by torch.nn.utils.prune; remove that first"
                )
            if id(parameter) not in taken:
                seen.add(id(parameter))
                found.append(Slot(module, name, (f"{path}." if path else "") + name + suffix, shape, addresses))
        taken |= seen
    return found


def sparsify(
    model: nn.Module,
    density: float | Mapping[str, float],
    distribution: Distribution = "uniform",
    seed: Seed = None,
    *,
    dense: tuple[str, ...] = (),
    init: str | None = None,
    activation: str = "relu",
) -> nn.Module:
    """Return `model`, whose weights hold random edges only from now on; it is changed in place.

    Parameters
    ----------
    model : nn.Module
        Any. Taken are the weights of Linear, Conv1d-3d, ConvTranspose1d-3d, MultiheadAttention (q, k, v, output), RNN,
        GRU, LSTM and their cells, each by itself; biases, normalisation and embeddings stay as they are, and so do
        modules that have edge sets already.
    density : float or mapping of str to float
        Kept edges over pairs, in (0, 1]: of all weights that are taken, or of each by its name; weights that the
        mapping does not name are not taken.
    distribution : {"uniform", "er", "erk", "igq"}
        How one density is shared among weights; see `deepgraph.priors.edge_counts`.
    seed : int, Generator or None
        None draws from torch's global generator.
    dense : tuple of str
        Names of weights, or of modules, that are not taken.
    init : {"fan_in", "xavier", "torch"}, optional
        Draws the weights anew, by the fan-in that is left. None keeps the values that the module has.
    activation : str
        Whose gain `init` takes.

    Raises
    ------
    DtypeError
        If `model` is no nn.Module.
    ArgumentError
        If there is no weight to take, a name is unknown, a weight is computed by a parametrization, or a density,
        `distribution`, `init` or `activation` is not valid.

    Notes
    -----
    Every weight stays the module's own parameter, with its name and shape; it is 0 where there is no edge. A hook sets
    the gradient there to 0, so weight decay and momentum move edges only, under every optimizer that treats entries by
    themselves; an optimizer that has stepped before needs `deepgraph.follow(model, optimizer)`. `clear_absent` repairs
    what other code wrote there. `deepgraph.sparse.edge_values(model)` returns the edge sets; they are edited like all
    others. An edit counts as an in-place change of the weight: a backward of an earlier forward raises.

    Sources of an edge set are input features x kernel positions, in the order of the weight, relative to the target's
    group in a grouped convolution, and targets are output features or gate units: every entry is one pair.

    `state_dict` has the keys and shapes of the dense module. The edges are in it too: 0 is no edge, an edge of weight 0
    is written as -0. `load_state_dict` adopts the edges that it finds, as one edit; copies and pickles keep them.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 26 * 26, 10))
    >>> sparsify(model, 0.05, "erk", seed=0)[2].weight.shape
    torch.Size([10, 2704])
    >>> [edges.edge_set.num_edges for edges in edge_values(model)]
    [5, 1349]
    """
    if not isinstance(model, nn.Module):
        raise DtypeError(f"model: expected an nn.Module, got {type(model).__name__}")
    slots = _wanted(weight_slots(model), dense)
    if not slots:
        raise ArgumentError(
            f"model: expected weights of linear, convolutional, attention or recurrent modules, got a "
            f"{type(model).__name__} without any that is not sparse already or in `dense`"
        )
    slots, counts = _counts(slots, density, distribution)
    code = activation_named(activation).code
    root = root_seed(seed)
    for path, (slot, values) in enumerate(_bound(slots, counts, root)):
        with torch.no_grad():
            if init is not None:
                drawn = draw_weights(
                    values.edge_set, np.full(slot.num_targets, code, np.uint8), init, torch_stream(root, path),
                    slot.parameter.dtype,
                )  # fmt: skip
                values.set_values(drawn)
    clear_absent(model)
    return model


def _wanted(slots: list[Slot], dense: tuple[str, ...]) -> list[Slot]:
    """Return the slots that no name of `dense` excludes."""
    names = (dense,) if isinstance(dense, str) else tuple(dense)
    for name in names:
        if not any(_is_of(slot, name) for slot in slots):
            raise ArgumentError(f"dense: expected names among {[slot.name for slot in slots]}, got {name!r}")
    return [slot for slot in slots if not any(_is_of(slot, name) for name in names)]


def _is_of(slot: Slot, name: str) -> bool:
    return slot.name == name or slot.name.startswith(f"{name}.")


def _counts(
    slots: list[Slot], density: float | Mapping[str, float], distribution: Distribution
) -> tuple[list[Slot], Sequence[int]]:
    """Return the slots that are taken and the number of edges of each."""
    if not isinstance(density, Mapping):
        counts = edge_counts([slot.shape for slot in slots], check_density(density), distribution)
        return slots, counts.tolist()
    names = {slot.name for slot in slots}
    unknown = sorted(set(density) - names)
    if unknown:
        raise ArgumentError(f"density: expected names among {sorted(names)}, got {unknown[0]!r}")
    taken = [slot for slot in slots if slot.name in density]
    shares = [check_density(density[slot.name], f"density[{slot.name!r}]") for slot in taken]
    sizes = [slot.num_sources * slot.num_targets for slot in taken]
    return taken, [edge_budget(size, share) for size, share in zip(sizes, shares, strict=True)]


def _bound(slots: list[Slot], counts: Sequence[int], root: int) -> list[tuple[Slot, WeightValues]]:
    """Return the slots with random edges in them; the modules hold their values from now on."""
    made: list[tuple[Slot, WeightValues]] = []
    hooks: dict[int, GradientMask] = {}
    held: dict[int, tuple[nn.Module, dict[str, list[WeightValues]]]] = {}
    for path, (slot, count) in enumerate(zip(slots, counts, strict=True)):
        rng = numpy_stream(root, path, 0)
        edges = bipartite_edges(slot.num_sources, slot.num_targets, count, rng, slot.name)
        hook = hooks.setdefault(id(slot.parameter), GradientMask(tuple(slot.parameter.shape)))
        values = WeightValues(edges, slot.parameter, slot.addresses, hook)
        made.append((slot, values))
        held.setdefault(id(slot.module), (slot.module, {}))[1].setdefault(slot.parameter_name, []).append(values)
    for module, weights in held.values():
        hold(module, WeightEdges(weights))
    return made


def clear_absent(model: nn.Module) -> None:
    """Set what is no edge to zero in all weights that were given edge sets by `sparsify`.

    Only needed after other code wrote to the weights: an initialisation, or an optimizer that mixes their entries.

    Raises
    ------
    AttributeError
        If `model` is no nn.Module.

    Examples
    --------
    >>> layer = sparsify(nn.Linear(4, 3), 0.5, seed=0)
    >>> _ = nn.init.ones_(layer.weight)
    >>> clear_absent(layer)
    >>> layer.weight.sum().item()
    6.0
    """
    for module in model.modules():
        held = module.__dict__.get(HELD)
        if held is not None:
            held.clear_absent(module)


def weight_masks(model: nn.Module) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """Return every weight that `sparsify` gave edge sets, and which of its entries may be other than 0: bool.

    Raises
    ------
    AttributeError
        If `model` is no nn.Module.

    Examples
    --------
    >>> layer = sparsify(nn.Linear(4, 3), 0.5, seed=0)
    >>> [(weight is layer.weight, int(mask.sum())) for weight, mask in weight_masks(layer)]
    [(True, 6)]
    """
    found = []
    for module in model.modules():
        held = module.__dict__.get(HELD)
        if held is not None:
            for one in {id(values.parameter): values for values in held.of(module)}.values():
                found.append((one.parameter, ~one.hook.absent(one.parameter.device)))
    return found
