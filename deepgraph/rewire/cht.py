"""`CHT` and `CHTs`: growing by link prediction on the network itself, without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import nn

from deepgraph.errors import ArgumentError
from deepgraph.kernels.growth import AbsentPairs
from deepgraph.rewire.candidates import best, lowest, split_rows
from deepgraph.rewire.growth import Scored, ScoredGrowth
from deepgraph.rewire.inactive import with_inactive
from deepgraph.rewire.options import Options
from deepgraph.rewire.rewirer import Rewirer
from deepgraph.sparse.values import EdgeValues

__all__ = ["CHT", "CHTs", "LinkGrowth", "Predictor", "link_scores"]

Index = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
BLOCK = 1 << 20
"""Paths looked at together."""

Predictor = Literal["CH3-L3n", "CH2-L3n", "CH3-L3p", "RA-L3"]


def link_scores(src: Index, dst: Index, shape: tuple[int, int], predictor: Predictor = "CH3-L3n") -> Scores:
    """Return the Cannistraci-Hebb score (R, C) of every pair of a bipartite network; of interest for absent ones.

    Parameters
    ----------
    src, dst : (E,) int
        Its links.
    shape : (int, int)
        R sources and C targets.
    predictor : {"CH3-L3n", "CH2-L3n", "CH3-L3p", "RA-L3"}
        By the nodes, or the paths, of length 3 between u and v.

    Raises
    ------
    ArgumentError
        If the predictor is none of these.

    Notes
    -----
    With M the matrix of links, A = M M^T and deg its degrees, e_ij = max(deg_j - A_ij - 1, 0) where A_ij > 0 counts
    the links of j that leave the local community. "CH3-L3n" weighs W = [A > 0] / (1 + e), "CH2-L3n" W = (A + [A > 0])
    / (1 + e), for both sides, and scores W_R M + (W_C M^T)^T. "CH3-L3p" sums 1 / sqrt((1 + de_t) (1 + de_j)) over
    paths u - t - j - v, "RA-L3" 1 / sqrt(d_t d_j), with d the degrees and de those links of t and j that run
    neither to u or v nor between neighbours of u and neighbours of v. Memory: a few dense (R, C) matrices.

    References
    ----------
    .. [1] Muscoloni, Abdelhamid, Cannistraci: Local-community network automata modelling based on length-three-paths
       for prediction of complex network structures in protein interactomes, bioRxiv 346916 (2018).

    Examples
    --------
    >>> float(link_scores(np.array([0, 0, 1]), np.array([0, 1, 1]), (2, 2))[1, 0])
    2.0
    """
    if predictor not in get_args(Predictor):
        raise ArgumentError(f"predictor: expected one of {get_args(Predictor)}, got {predictor!r}")
    M = csr_array((np.ones(len(src)), (src, dst)), shape=shape)
    if predictor in ("CH3-L3n", "CH2-L3n"):
        sides = _community(M, predictor) @ M, (_community(M.T.tocsr(), predictor) @ M.T.tocsr()).T
        return np.asarray((sides[0] + sides[1]).todense(), np.float64)
    degree: tuple[Scores, Scores] = np.asarray(M.sum(1)).ravel(), np.asarray(M.sum(0)).ravel()
    if predictor == "RA-L3":
        weighted = csr_array((1 / np.sqrt(degree[0][src] * degree[1][dst]), (src, dst)), shape=shape)
        return np.asarray((M @ weighted.T.tocsr() @ M).todense(), np.float64)
    return _by_paths(M, degree[0], degree[1])


def _community(M: csr_array, predictor: str) -> csr_array:
    """Return the weights W (R, R) between the sources of M (R, C)."""
    A = (M @ M.T).tocoo()
    degree = np.asarray(M.sum(1)).ravel()
    outside = np.maximum(degree[A.coords[1]] - A.data - 1, 0)
    weight = (A.data + 1 if predictor == "CH2-L3n" else 1.0) / (1 + outside)
    return csr_array((weight, A.coords), shape=A.shape)


def _by_paths(M: csr_array, row_degree: Scores, column_degree: Scores) -> Scores:
    """Return the CH3-L3p score (R, C), summed over all paths u - t - j - v, a block of them at a time."""
    back = M.T.tocsr()
    shared_rows, shared_columns = (M @ back).toarray(), (back @ M).toarray()
    u, t = (side.astype(np.int64) for side in M.tocoo().coords)
    at, j = _neighbours(back, t)
    u, t = u[at], t[at]
    scores = np.zeros(M.shape[0] * M.shape[1])
    length = np.cumsum(np.diff(M.indptr)[j])
    cuts = np.searchsorted(length, np.arange(BLOCK, length[-1] if len(length) else 0, BLOCK))
    for part in np.split(np.arange(len(j)), cuts):
        at, v = _neighbours(M, j[part])
        source, through, back_at = u[part][at], t[part][at], j[part][at]
        # 1 + de: the link to u or v is taken off, and 1 is added. Only absent pairs (u, v) have it >= 1 for sure.
        out_t = np.maximum(column_degree[through] - shared_columns[through, v], 1)
        out_j = np.maximum(row_degree[back_at] - shared_rows[back_at, source], 1)
        scores += np.bincount(source * M.shape[1] + v, 1 / np.sqrt(out_t * out_j), minlength=len(scores))
    return scores.reshape(M.shape)


def _neighbours(M: csr_array, rows: Index) -> tuple[Index, Index]:
    """Return for each of `rows` (K,) all its columns: `(position in rows, column)`."""
    counts = np.diff(M.indptr)[rows]
    at = np.repeat(np.arange(len(rows)), counts)
    first = np.repeat(M.indptr[rows] - (np.cumsum(counts) - counts), counts)
    return at, M.indices[first + np.arange(len(at))].astype(np.int64)


class LinkGrowth(ScoredGrowth):
    """The pairs that link prediction scores highest, or a sample in proportion to the scores.

    Parameters
    ----------
    predictor : str
        See `link_scores`.
    soft : bool
        Sample without replacement instead of taking the best.
    """

    def __init__(self, predictor: Predictor = "CH3-L3n", soft: bool = False) -> None:
        if predictor not in get_args(Predictor):
            raise ArgumentError(f"predictor: expected one of {get_args(Predictor)}, got {predictor!r}")
        self.predictor, self.soft = predictor, soft

    def best(self, rewirer: Rewirer, values: EdgeValues, free: AbsentPairs, count: int) -> Scored:
        """Return `(u, v, score)`, each (count,), of the free pairs of one edge set; ties are drawn at random."""
        shape = free.num_sources, free.num_targets
        # What is equal by definition may differ in the last bits, and is drawn among.
        scores = link_scores(free.src, free.dst, shape, self.predictor).round(12)
        u, v = free.take(np.arange(free.count))
        drawn = rewirer.random_numbers(values, u, v)
        found = scores[u, v]
        if self.soft:
            # Adding Gumbel noise to logarithms and taking the best samples in proportion to the numbers.
            with np.errstate(divide="ignore"):
                found = np.log(np.maximum(found, 1e-30)) - np.log(-np.log(drawn))
        rows = best(found, np.argsort(np.argsort(drawn, kind="stable"), kind="stable"), count)
        return u[rows], v[rows], found[rows]


class CHT(Rewirer):
    """Cannistraci-Hebb training: drop the smallest |w|, grow the links that the network's own topology predicts.

    Parameters
    ----------
    model, optimizer
        As for `Rewirer`.
    predictor : {"CH3-L3p", "CH3-L3n", "CH2-L3n", "RA-L3"}
        See `link_scores`.
    **options
        Those of `Rewirer`; `drop_fraction` is the paper's zeta, 0.3, `group` "set" or "graph".

    Raises
    ------
    ArgumentError, DtypeError
        As `Rewirer`, and if `predictor` or `group` is not valid.

    Notes
    -----
    Zhang et al. 2024 [1]_: an edit follows the optimizer's step; the share zeta of the smallest |w| of an edge set goes
    and the absent links with the highest score on what is left come, with weight 0. No gradient of an absent edge is
    needed. Scores take dense matrices of an edge set's size. Before links are grown, hidden neurons that have no
    incoming or no outgoing link any more lose those that they have left, which are grown elsewhere.

    Differs from the paper: inactive neurons are found in the modules of this package, whose edge sets say where they
    meet, and between linear layers that follow each other in an `nn.Sequential`, not elsewhere; equal scores are drawn
    at random; growth starts at the model's topology, not at a correlated one. On a DAG the network is the bipartite
    one of its nodes as sources and as targets.

    References
    ----------
    .. [1] Zhang, Zhao, Wu, Muscoloni, Cannistraci: Epitopological learning and Cannistraci-Hebb network shape
       intelligence brain-inspired theory for ultra-sparse advantage in deep learning, ICLR 2024.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0)
    >>> optimizer = CHT(model, torch.optim.SGD(model.parameters(), lr=0.1), every=1, seed=0)
    >>> model(torch.ones(5, 6)).square().sum().backward()
    >>> optimizer.step()
    >>> optimizer.edited, model.num_edges
    (True, 18)
    """

    soft = False
    default_group = "set"
    default_predictor: Predictor = "CH3-L3p"

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        predictor: Predictor | None = None,
        **options: Unpack[Options],
    ) -> None:
        if options.get("group") not in (None, "set", "graph"):
            raise ArgumentError(f"group: expected 'set' or 'graph', got {options.get('group')!r}")
        options.setdefault("growth", LinkGrowth(predictor or self.default_predictor, self.soft))
        super().__init__(model, optimizer, **options)

    def drops(self, rows: dict[int, Index]) -> dict[int, Index]:
        """Return the chosen rows and those of links into and out of neurons that these leave without use."""
        return with_inactive(self.values, rows, self.model) if any(map(len, rows.values())) else rows


class CHTs(CHT):
    """Cannistraci-Hebb training, soft: links are dropped and grown by chance, in proportion to 1 / |w| and to scores.

    Parameters
    ----------
    model, optimizer, **options
        As for `CHT`.
    predictor : {"CH2-L3n", "CH3-L3n", "CH3-L3p", "RA-L3"}
        See `link_scores`; node-based ones scale to large layers.

    Raises
    ------
    ArgumentError, DtypeError
        As `CHT`.

    Notes
    -----
    Zhang et al. 2025 [1]_: links to drop and to grow are sampled without replacement.

    Differs from the paper: as `CHT`; the temperature of the sampling is 1 throughout, and density stays as it is.

    References
    ----------
    .. [1] Zhang, Zhao, Liao, Wu, Liu, Cannistraci: Brain network science modelling of sparse neural networks enables
       Transformers and LLMs to perform as fully connected, 2025, arXiv 2501.19107.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0)
    >>> CHTs(model, torch.optim.SGD(model.parameters(), lr=0.1), every=5, seed=0).growth.predictor
    'CH2-L3n'
    """

    soft = True
    default_predictor = "CH2-L3n"

    def choose_drop(self, values: Sequence[EdgeValues], share: float) -> list[Index]:
        """Return rows to drop of each edge set, sampled without replacement in proportion to 1 / |w|."""
        scores = np.concatenate([self._drop_scores(one) for one in values])
        pairs = [[side.astype(np.int64) for side in one.edge_set.pairs()] for one in values]
        drawn = np.concatenate([self.random_numbers(one, *sides) for one, sides in zip(values, pairs, strict=True)])
        # The smallest |w| * Exp(1) are such a sample (Efraimidis and Spirakis 2006).
        rows = lowest(-np.log1p(-drawn) * scores, int(share * len(scores)))
        return split_rows(rows, [one.edge_set.num_edges for one in values])
