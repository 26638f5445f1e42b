"""Fixtures of the suite that all rewirers share."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["ffn", "graph", "dan", "conv", "cells"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["csr", "masked"])
def storage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["static", "set", "rigl", "deepr", "snfs", "cht", "chts", "mest"])
def algorithm(request: pytest.FixtureRequest) -> str:
    return str(request.param)
