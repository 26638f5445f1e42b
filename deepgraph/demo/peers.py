"""Other packages for sparse layers, where they are installed: the same network built with each of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise

import torch
from torch import nn

from deepgraph.priors.densities import edge_budget

__all__ = ["PEERS", "Peer", "installed_peers"]

Make = Callable[[int, int, float], nn.Module]
"""(in, out, density) -> a linear layer of that density."""


def _sparselab(into: int, out: int, density: float) -> nn.Module:
    made: nn.Module = import_module("sparselab").SparseLinear(into, out, sparsity=1 - density)
    return made


def _sparselinear(into: int, out: int, density: float) -> nn.Module:
    made: nn.Module = import_module("sparselinear").SparseLinear(into, out, sparsity=1 - density)
    return made


def _deepstruct(into: int, out: int, density: float) -> nn.Module:
    layer: nn.Module = import_module("deepstruct.sparse").MaskedLinearLayer(into, out)
    mask = torch.zeros(out * into, dtype=torch.bool)
    mask[torch.randperm(out * into)[: edge_budget(out * into, density)]] = True
    layer.mask = mask.view(out, into)
    return layer


def _deep_rewire(into: int, out: int, density: float) -> nn.Module:
    model = nn.Sequential(nn.Linear(into, out))
    import_module("deep_rewire").convert(model, handle_biases="ignore", active_probability=density)
    return model


@dataclass(frozen=True)
class Peer:
    """A package and how a linear layer is made with it.

    Parameters
    ----------
    name, module : str
        Of the distribution, and of what is imported.
    layer : callable
        (in, out, density) -> module.
    how : str
        What it computes with.
    """

    name: str
    module: str
    layer: Make
    how: str

    def version(self) -> str | None:
        """Return the installed version, None where the package is not installed."""
        try:
            return version(self.name)
        except PackageNotFoundError:
            return None

    def network(self, sizes: Sequence[int], density: float) -> nn.Module:
        """Return a feed-forward network with ReLU between the layers.

        Raises
        ------
        Exception
            Whatever the package raises; it is not ours.
        """
        layers: list[nn.Module] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for into, out in pairwise(sizes):
                layers += [self.layer(into, out, density), nn.ReLU()]
        return nn.Sequential(*layers[:-1])


PEERS = (
    Peer("sparselab", "sparselab", _sparselab, "compiled products of padded CSR"),
    Peer("sparselinear", "sparselinear", _sparselinear, "torch_sparse products of COO"),
    Peer("deepstruct", "deepstruct.sparse", _deepstruct, "dense products with a mask"),
    Peer("deep-rewire", "deep_rewire", _deep_rewire, "dense products of ReLU(theta) * sign"),
)


def installed_peers() -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that can be used here, and why the others cannot, by name.

    Examples
    --------
    >>> found, missing = installed_peers()
    >>> sorted([peer.name for peer in found] + list(missing))
    ['deep-rewire', 'deepstruct', 'sparselab', 'sparselinear']
    """
    found, missing = [], {}
    for peer in PEERS:
        if peer.version() is None:
            missing[peer.name] = "not installed"
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import_module(peer.module)
                peer.network([4, 3, 2], 0.5)
        except Exception as error:
            missing[peer.name] = f"version {peer.version()} does not work here: {type(error).__name__}: {error}"
        else:
            found.append(peer)
    return found, missing
