"""Write the sample of Fashion-MNIST that the package bundles, from a folder with the four IDX files of the full set.

    python examples/make_sample.py DIR [--train 2000] [--test 1000] [--out deepgraph/dataset/fashion_mnist_sample.npz]

The same input gives the same bytes. The file is an .npz whose members are compressed with LZMA instead of deflate
(1.1 instead of 1.3 MB); `numpy.load` reads both. Prints the checksum that `deepgraph/dataset/sample.py` verifies.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

from deepgraph.dataset import read_idx_folder

DEFAULT_OUT = Path(__file__).parent.parent / "deepgraph" / "dataset" / "fashion_mnist_sample.npz"


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of an .npz with LZMA members and a fixed date, so that they depend on the arrays alone."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_LZMA
            info.create_system = 3
            archive.writestr(info, member.getvalue())
    return buffer.getvalue()


def main() -> None:
    """Read the folder named on the command line and write the sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    args = parser.parse_args()

    split = read_idx_folder(args.folder)
    raw = npz_bytes(
        {
            "x_train": np.ascontiguousarray(split.train.images[: args.train]),
            "y_train": split.train.labels[: args.train].astype(np.uint8),
            "x_test": np.ascontiguousarray(split.test.images[: args.test]),
            "y_test": split.test.labels[: args.test].astype(np.uint8),
        }
    )
    args.out.write_bytes(raw)
    print(f"{args.out}: {len(raw):,} bytes, sha256 {hashlib.sha256(raw).hexdigest()}")


if __name__ == "__main__":
    main()
