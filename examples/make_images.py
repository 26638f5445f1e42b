"""Write the pictures that the README shows into a folder: each is the figure of one script of the gallery.

python examples/make_images.py [--out images]
"""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

HERE = Path(__file__).parent
IMAGES = ("rigl_inputs", "skip_lengths", "extract_residual", "training_curves")
"""images/NAME.png is the figure of examples/plot_NAME.py."""


def main() -> None:
    """Run the scripts and save their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parent / "images")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name in IMAGES:
        plt.close("all")
        runpy.run_path(str(HERE / f"plot_{name}.py"), run_name="__main__")
        # Without the version of matplotlib, so that the same picture is the same file.
        plt.gcf().savefig(out / f"{name}.png", dpi=100, metadata={"Software": None})
        print(out / f"{name}.png")


if __name__ == "__main__":
    main()
