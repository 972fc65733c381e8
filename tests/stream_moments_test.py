"""Moments added up batch by batch are those of all rows, however they come and to whom."""

import jax
import numpy as np
import pytest
from make_streams import Threads

from ecjax.peers import Alone
from ecjax.stream_moments import Gathered, of_all

N, WIDTHS, T, K = 500, (5, 3), 2, 4


@pytest.fixture(scope="module")
def rows():
    """Columns with large offsets that drift, and a row of no cell here and there."""
    rng = np.random.default_rng(0)
    offset = 1e5 + 30 * np.linspace(0, 1, N)[:, None]
    blocks = [(offset + rng.normal(size=(N, w))).astype(d) for w, d in zip(WIDTHS, "fd")]  # noqa: B905
    y = rng.normal(size=(N, T))
    cells = np.stack([rng.integers(-1, K, N), K + rng.integers(0, K, N)])
    return blocks, y, cells


def gather(rows, batch, device=None, own=slice(None)):
    blocks, y, cells = rows
    found = Gathered(2 * K, sum(WIDTHS), T, device)
    for start in range(0, N, batch):
        some = np.arange(start, min(start + batch, N))[own]
        if len(some):
            found.add([x[some] for x in blocks], y[some], cells[:, some])
    return found.moments()


def by_hand(rows, cell):
    blocks, y, cells = rows
    z = np.column_stack([*blocks, y]).astype(np.longdouble)[(cells == cell).any(0)]
    mean = z.mean(0)
    return len(z), mean, np.tril((z - mean).T @ (z - mean)), z[:, -T:].min(0), z[:, -T:].max(0)


@pytest.mark.parametrize("batch", [1, 7, 64, N])
def test_the_batches_make_no_difference(rows, batch):
    found = gather(rows, batch)
    for cell in range(2 * K):
        count, mean, products, low, high = by_hand(rows, cell)
        assert found.count[cell] == count
        np.testing.assert_allclose(found.mean[cell], mean.astype(float), rtol=1e-15, atol=1e-15)
        length = np.sqrt(products.diagonal().astype(float))
        error = np.abs(np.tril(found.products[cell]) - products.astype(float))
        assert (error <= 1e-13 * np.outer(length, length)).all()
        assert (found.low[cell] == low).all() and (found.high[cell] == high).all()


def test_another_device_finds_the_same(rows):
    for ours, theirs in zip(
        gather(rows, 200, jax.devices("cpu")[0]), gather(rows, 200), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-11)


def test_processes_add_up(rows):
    expected = gather(rows, 100)

    def work(peer):
        own = slice(peer.index, None, peer.count) if peer.index else slice(0, None, peer.count)
        return of_all(gather(rows, 100, own=own), peer)

    for found in Threads(3).run(work):
        assert (found.count == expected.count).all()
        for ours, theirs in zip(found[1:], expected[1:], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-8)
    alone = gather(rows, 100)
    assert of_all(alone, Alone()) is alone


def test_a_cell_without_rows_has_none():
    found = Gathered(2, 1, 1)
    found.add([np.ones((3, 1))], np.ones((3, 1)), np.zeros((1, 3), int))
    moments = found.moments()
    assert moments.count.tolist() == [3, 0] and moments.low[1] == np.inf
    assert (moments.mean[1] == 0).all() and (moments.products == 0).all()
