"""Measures of a graph, reports against null models, comparison of two graphs.

Every measure is a plain function of a graph: `deepgraph.analysis.effective_edges(graph)`. `analyse(graph)` computes
them all and prints as a table.
"""

from deepgraph.analysis.bipartite import bipartite_clustering, butterflies, butterflies_by_pair, clustering_by_pair
from deepgraph.analysis.catalogue import MEASURES
from deepgraph.analysis.centrality import Centrality, betweenness, closeness, pagerank
from deepgraph.analysis.community import louvain, modularity, modularity_of
from deepgraph.analysis.comparison import Comparison, compare, matching_distance
from deepgraph.analysis.components import (
    component_labels,
    components,
    core_numbers,
    core_share,
    largest_component,
    largest_component_share,
    max_core,
)
from deepgraph.analysis.cost import (
    Cost,
    bytes_bitmask,
    bytes_csr,
    bytes_dense,
    flops,
    network_cost,
    parameters,
    weight_bytes,
)
from deepgraph.analysis.degrees import (
    FanSummary,
    degree_distribution,
    degrees,
    fan,
    fan_by_stage,
    gini,
    sign_balance,
    strength,
)
from deepgraph.analysis.dense import without_dense_pairs
from deepgraph.analysis.edges import EdgeArrays, StagePairs, arrays_of
from deepgraph.analysis.feature_rows import features
from deepgraph.analysis.measure import Estimate, Measure, UnknownMeasureError
from deepgraph.analysis.mixing import assortativity, rich_club, rich_club_curve, rich_nodes
from deepgraph.analysis.motifs import Motifs, motifs
from deepgraph.analysis.nulltests import NullTest, compare_with_nulls
from deepgraph.analysis.paired import PairedDifference, paired_difference
from deepgraph.analysis.paths import PathLengths, path_length_max, path_length_mean, path_lengths
from deepgraph.analysis.powerlaw import PowerLaw, fit_power_law, power_law, power_law_exponent
from deepgraph.analysis.reach import (
    dead_neurons,
    effective_density,
    effective_edge_mask,
    effective_edges,
    live_share,
    live_unit_mask,
    live_units,
    log_paths,
    reachable,
)
from deepgraph.analysis.recorder import Recorder
from deepgraph.analysis.relabel import null_relabel
from deepgraph.analysis.report import Report, Value
from deepgraph.analysis.run import analyse
from deepgraph.analysis.size import (
    admissible_pairs,
    density,
    depth,
    mean_skip_length,
    num_edges,
    num_nodes,
    num_stages,
    skip_share,
    stage_pair_density,
)
from deepgraph.analysis.smallworld import SmallWorld, clustering, local_clustering, small_world, triangles
from deepgraph.analysis.spectral import PairSpectrum, pair_spectra, ramanujan_gap, spectral_gap
from deepgraph.analysis.stages import PAIR_MEASURES, STAGE_MEASURES
from deepgraph.analysis.tails import TailTest, power_law_against, tail_test
from deepgraph.analysis.topology import TopologyTest, does_topology_matter

__all__ = [
    "MEASURES",
    "PAIR_MEASURES",
    "STAGE_MEASURES",
    "Centrality",
    "Comparison",
    "Cost",
    "EdgeArrays",
    "Estimate",
    "FanSummary",
    "Measure",
    "Motifs",
    "NullTest",
    "PairSpectrum",
    "PairedDifference",
    "PathLengths",
    "PowerLaw",
    "Recorder",
    "Report",
    "SmallWorld",
    "StagePairs",
    "TailTest",
    "TopologyTest",
    "UnknownMeasureError",
    "Value",
    "admissible_pairs",
    "analyse",
    "arrays_of",
    "assortativity",
    "betweenness",
    "bipartite_clustering",
    "butterflies",
    "butterflies_by_pair",
    "bytes_bitmask",
    "bytes_csr",
    "bytes_dense",
    "closeness",
    "clustering",
    "clustering_by_pair",
    "compare",
    "compare_with_nulls",
    "component_labels",
    "components",
    "core_numbers",
    "core_share",
    "dead_neurons",
    "degree_distribution",
    "degrees",
    "density",
    "depth",
    "does_topology_matter",
    "effective_density",
    "effective_edge_mask",
    "effective_edges",
    "fan",
    "fan_by_stage",
    "features",
    "fit_power_law",
    "flops",
    "gini",
    "largest_component",
    "largest_component_share",
    "live_share",
    "live_unit_mask",
    "live_units",
    "local_clustering",
    "log_paths",
    "louvain",
    "matching_distance",
    "max_core",
    "mean_skip_length",
    "modularity",
    "modularity_of",
    "motifs",
    "network_cost",
    "null_relabel",
    "num_edges",
    "num_nodes",
    "num_stages",
    "pagerank",
    "pair_spectra",
    "paired_difference",
    "parameters",
    "path_length_max",
    "path_length_mean",
    "path_lengths",
    "power_law",
    "power_law_against",
    "power_law_exponent",
    "ramanujan_gap",
    "reachable",
    "rich_club",
    "rich_club_curve",
    "rich_nodes",
    "sign_balance",
    "skip_share",
    "small_world",
    "spectral_gap",
    "stage_pair_density",
    "strength",
    "tail_test",
    "triangles",
    "weight_bytes",
    "without_dense_pairs",
]
