"""Dense products: right, and the same bytes whatever the number of threads."""

from __future__ import annotations

import pytest
import torch

from deepgraph.kernels.products import add_product, product, single_thread


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (5, 40, 300), (10, 1000, 128), (65, 7, 3), (1000, 784, 128), (700, 128, 900)]
)
@pytest.mark.parametrize("transposed", [False, True])
def test_products_do_not_depend_on_threads(shape, transposed, threads):
    m, k, n = shape
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(m, k, generator=generator)
    b = torch.randn(n, k, generator=generator).t() if transposed else torch.randn(k, n, generator=generator)
    start = torch.randn(m, n, generator=generator)
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append((product(a, b), add_product(start.clone(), a, b)))
        assert torch.get_num_threads() == count
    for one, two in found[1:]:
        assert torch.equal(one, found[0][0])
        assert torch.equal(two, found[0][1])
    exact = a.double() @ b.double()
    assert (found[0][0] - exact).norm() <= 1e-6 * exact.norm()
    assert (found[0][1] - exact - start).norm() <= 1e-6 * (exact + start).norm()


def test_nothing_to_do():
    assert product(torch.ones(0, 3), torch.ones(3, 2)).shape == (0, 2)
    assert not product(torch.ones(2, 0), torch.ones(0, 2)).any()


def test_threads_come_back_after_an_error(threads):
    threads(2)
    with pytest.raises(RuntimeError, match="shape"), single_thread():
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert torch.get_num_threads() == 2
