"""The pictures of the demo, each a PNG file that can be read without the text around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from deepgraph.graph import CachedLayeredGraph
from deepgraph.plotting import degree_distribution, draw, edit_history, input_heatmap, spy, training_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deepgraph.demo.training import Run

__all__ = ["draw_pictures", "save_picture"]


MOST_STAGES = 26
"""Stages that the drawing shows one by one; more are grouped."""


def save_picture(path: Path, size: tuple[float, float], paint: Callable[[Axes], object], heading: str = "") -> Path:
    """Return `path` after `paint(ax)` filled a figure of `size` inches below a heading and it was saved there.

    The end of the name, such as .png, says the format. The file appears whole or not at all. No window is opened and
    pyplot's state is not touched.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_picture(Path(folder) / "line.png", (2, 1), lambda ax: ax.plot([0, 1])).name
    'line.png'
    """

    def fill(figure: Figure) -> None:
        paint(figure.add_subplot())
        if heading:
            figure.suptitle(heading, x=0.01, ha="left", fontsize=11, fontweight="bold")

    return save_figure(path, size, fill)


def save_figure(path: Path, size: tuple[float, float], fill: Callable[[Figure], object]) -> Path:
    """Return `path` after `fill(figure)` filled a figure of `size` inches and it was saved there, as `save_picture`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_figure(Path(folder) / "empty.svg", (2, 1), lambda figure: None).name
    'empty.svg'
    """
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    fill(figure)
    part = path.with_name(f".{path.name}.part")
    figure.savefig(part, format=path.suffix[1:].lower(), dpi=130)
    part.replace(path)
    return path


def draw_pictures(
    folder: Path,
    runs: Mapping[str, Run],
    graphs: Mapping[str, CachedLayeredGraph],
    shape: tuple[int, ...],
    done: Callable[[str], None] = lambda name: None,
) -> dict[str, Path]:
    """Return the path of each picture by name, saved into `folder`.

    Parameters
    ----------
    folder : Path
        Must exist.
    runs : mapping from key to Run
        Trained methods; "dan_rigl" is among them.
    graphs : mapping from key to CachedLayeredGraph
        The extracted graphs of "ffn_rigl" and "dan_rigl".
    shape : tuple of int
        Of an image, (H, W); the map of the inputs is left out for other shapes.
    done : callable
        Called with the name of each picture after it was saved.
    """
    dan, ffn, structure = graphs["dan_rigl"], graphs["ffn_rigl"], runs["dan_rigl"].sparse_model.graph
    curves = {run.method.label: run.curve() for run in runs.values()}
    accuracy = runs["dan_rigl"].accuracy
    half = 50 * (accuracy.interval[1] - accuracy.interval[0])
    paints: dict[str, tuple[str, tuple[float, float], Callable[[Axes], Axes]]] = {
        "training": (
            f"Accuracy on {accuracy.total:,} test images, one seed (95 % interval of each: ± {half:.1f} points)",
            (7.6, 5.0), lambda ax: training_curves(curves, ax),
        ),
        "layers": (
            f"The DAN after RigL: {len(structure):,} neurons of a small world between pixels and classes",
            (11.0, 5.4), lambda ax: draw(dan, ax, max_blocks=MOST_STAGES),
        ),
        "degrees": (
            "The small world after RigL, without stem and head",
            (6.4, 4.8), lambda ax: degree_distribution(structure, ax),
        ),
        "spy": ("The DAN after RigL, stem and head included", (6.4, 5.9), lambda ax: spy(dan, ax)),
        "edits": ("How RigL rewired the small world", (7.2, 4.8), lambda ax: edit_history(structure, ax)),
    }  # fmt: skip
    if len(shape) == 2:
        paints["inputs"] = (
            "Pixels that the FFN reads after RigL",
            (5.4, 4.9),
            lambda ax: input_heatmap(ffn, shape, ax),
        )
    saved = {}
    for name, (heading, size, paint) in paints.items():
        saved[name] = save_picture(folder / f"{name}.png", size, paint, heading)
        done(name)
    return saved
