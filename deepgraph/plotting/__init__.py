"""Figures of graphs and of their training: each function takes `ax` and returns matplotlib Axes."""

from deepgraph.plotting.blocks import Blocks, block_counts, draw_blocks
from deepgraph.plotting.degrees import degree_distribution
from deepgraph.plotting.difference import draw_difference, side_by_side
from deepgraph.plotting.edits import edge_lifetimes, edit_history
from deepgraph.plotting.figure import report_figure, stage_rows
from deepgraph.plotting.inputs import input_connections, input_heatmap
from deepgraph.plotting.layered import draw
from deepgraph.plotting.spy import density_grid, spy
from deepgraph.plotting.style import dress
from deepgraph.plotting.training import statistic_over_steps, training_curves

__all__ = [
    "Blocks",
    "block_counts",
    "degree_distribution",
    "density_grid",
    "draw",
    "draw_blocks",
    "draw_difference",
    "dress",
    "edge_lifetimes",
    "edit_history",
    "input_connections",
    "input_heatmap",
    "report_figure",
    "side_by_side",
    "spy",
    "stage_rows",
    "statistic_over_steps",
    "training_curves",
]
