"""DeepRewire's names: conversion of a model to signs and thetas, and optimizers of a list of parameters.

`deepgraph.rewire.DEEPR(model, ...)` rewires edge sets instead, and needs no conversion.
"""

from __future__ import annotations

from deepgraph.rewire.rewireable import convert_from_deep_rewireable, convert_to_deep_rewireable, measure_sparsity
from deepgraph.rewire.theta import SoftDEEPRWrapper, ThetaDEEPR, ThetaSoftDEEPR

__all__ = [
    "DEEPR",
    "SoftDEEPR",
    "SoftDEEPRWrapper",
    "convert",
    "convert_from_deep_rewireable",
    "convert_to_deep_rewireable",
    "measure_sparsity",
    "reconvert",
]

DEEPR = ThetaDEEPR
SoftDEEPR = ThetaSoftDEEPR
convert = convert_to_deep_rewireable
reconvert = convert_from_deep_rewireable
