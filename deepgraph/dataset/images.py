"""Labelled images held as plain arrays: `Images` is one set, `Split` a training set and a test set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepgraph.errors import ArgumentError, DtypeError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Images", "Split"]


@dataclass(frozen=True, eq=False)
class Images:
    """N images with one label each.

    The arrays are checked once and are read-only from then on.

    Parameters
    ----------
    images : (N, H, W) or (N, H, W, C) uint8 array
        Grey or colour values, 0 to 255.
    labels : (N,) integer array
        The class of each image, 0 to `len(classes)` - 1; kept as int64.
    classes : tuple of str
        The name of each class.

    Raises
    ------
    DtypeError
        If `images` are not uint8 or `labels` are not integers.
    ShapeError
        If the shapes do not agree.
    ArgumentError
        If a label is not the index of a class.

    Examples
    --------
    >>> import numpy as np
    >>> pair = Images(np.zeros((2, 4, 4), np.uint8), np.array([1, 0]), ("shirt", "bag"))
    >>> len(pair), pair.shape, pair.classes[pair.labels[0]]
    (2, (4, 4), 'bag')
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        _check_images(images, labels)
        _check_labels(labels, len(self.classes))
        object.__setattr__(self, "images", _read_only(images))
        object.__setattr__(self, "labels", _read_only(labels.astype(np.int64)))
        object.__setattr__(self, "classes", tuple(self.classes))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        shape = " x ".join(str(side) for side in self.shape)
        return f"Images({len(self):,} images of {shape}, {len(self.classes)} classes)"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (H, W) or (H, W, C) of one image."""
        return self.images.shape[1:]

    def tensors(self, normalise: bool = True) -> tuple[Tensor, Tensor]:
        """The images and labels as torch tensors of their own memory.

        Parameters
        ----------
        normalise : bool
            True: images are float32 in [0, 1] (the value divided by 255). False: uint8 in 0 to 255.

        Returns
        -------
        x : (N, H, W) or (N, H, W, C) tensor, float32 or uint8
        y : (N,) tensor, int64

        Examples
        --------
        >>> import numpy as np
        >>> white = Images(np.full((1, 2, 2), 255, np.uint8), np.array([0]), ("white",))
        >>> x, y = white.tensors()
        >>> x.tolist(), y.tolist()
        ([[[1.0, 1.0], [1.0, 1.0]]], [0])
        """
        import torch

        x = torch.tensor(self.images)
        return (x.float() / 255 if normalise else x), torch.tensor(self.labels)


@dataclass(frozen=True, eq=False)
class Split:
    """A training set and a test set of the same kind of image.

    Parameters
    ----------
    train, test : Images
        Sets with equal image shapes and equal classes.
    name : str
        What the data are called in reports.

    Raises
    ------
    ShapeError
        If the images of the two sets have different shapes.
    ArgumentError
        If the two sets have different classes.

    Examples
    --------
    >>> import numpy as np
    >>> one = Images(np.zeros((1, 4, 4), np.uint8), np.array([0]), ("blank",))
    >>> Split(one, one, name="blanks")
    Split('blanks', train=1, test=1, shape=(4, 4), classes=1)
    """

    train: Images
    test: Images
    name: str = ""

    def __post_init__(self) -> None:
        if self.train.shape != self.test.shape:
            raise ShapeError(
                f"train and test need images of one shape, but train has {self.train.shape} and test has "
                f"{self.test.shape}; crop or pad one of them first"
            )
        if self.train.classes != self.test.classes:
            raise ArgumentError(
                f"train and test need the same classes, but train has {self.train.classes} and test has "
                f"{self.test.classes}; give both the same `classes`"
            )

    def __repr__(self) -> str:
        counts = f"train={len(self.train)}, test={len(self.test)}"
        return f"Split({self.name!r}, {counts}, shape={self.shape}, classes={len(self.classes)})"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (H, W) or (H, W, C) of one image."""
        return self.train.shape

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class, at the index that is its label."""
        return self.train.classes

    def tensors(self, normalise: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Both sets as torch tensors: x_train, y_train, x_test, y_test.

        Parameters
        ----------
        normalise : bool
            True: images are float32 in [0, 1]. False: uint8 in 0 to 255.

        Returns
        -------
        x_train : (N, H, W) or (N, H, W, C) tensor
        y_train : (N,) tensor, int64
        x_test : (M, H, W) or (M, H, W, C) tensor
        y_test : (M,) tensor, int64

        Examples
        --------
        >>> from deepgraph.dataset import fashion_mnist_sample
        >>> x_train, y_train, x_test, y_test = fashion_mnist_sample().tensors()
        >>> tuple(x_train.shape), tuple(y_test.shape), x_train.dtype
        ((2000, 28, 28), (1000,), torch.float32)
        """
        return *self.train.tensors(normalise), *self.test.tensors(normalise)


def _check_images(images: NDArray[Any], labels: NDArray[Any]) -> None:
    if images.dtype != np.uint8:
        raise DtypeError(
            f"images need dtype uint8 (0 to 255), got {images.dtype}; convert with (255 * x).round().astype('uint8')"
        )
    if images.ndim not in (3, 4):
        raise ShapeError(f"images need shape (N, H, W) or (N, H, W, C), got {images.shape}; reshape them first")
    if labels.shape != images.shape[:1]:
        raise ShapeError(
            f"labels need one entry per image, shape ({len(images)},), got {labels.shape}; "
            "take images and labels from the same set"
        )


def _check_labels(labels: NDArray[Any], num_classes: int) -> None:
    if not np.issubdtype(labels.dtype, np.integer):
        raise DtypeError(f"labels need an integer dtype, got {labels.dtype}; convert with labels.astype('int64')")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ArgumentError(
            f"labels need values from 0 to {num_classes - 1} for {num_classes} classes, got {labels.min()} to "
            f"{labels.max()}; give one name in `classes` per label"
        )


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view of the array; the caller's own array keeps its flags."""
    view = array.view()
    view.flags.writeable = False
    return view
