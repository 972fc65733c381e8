"""A digest changes with every row, and with nothing else."""

import numpy as np
import pytest

from ecjax.row_digest import RowDigest, of_labels

RNG = np.random.default_rng(0)
IDS, X, Y = np.arange(50), RNG.normal(size=(50, 7)).astype(np.float32), RNG.normal(size=(50, 2))


def digest(ids, x, y, cuts=()):
    found = RowDigest()
    for rows in np.split(np.arange(len(ids)), cuts):
        if len(rows):
            found.add(ids[rows], y[rows], [x[rows, :3], x[rows, 3:]])
    return found.texts()


def differing(ids, x, y):
    ours, theirs = digest(ids, x, y), digest(IDS, X, Y)
    return {part for part in ours if ours[part] != theirs[part]}


def test_order_and_batches_make_no_difference():
    order = RNG.permutation(50)
    assert digest(IDS, X, Y) == digest(IDS[order], X[order], Y[order], (0, 3, 20, 49))


def test_every_bit_of_vectors_counts():
    seen = set()
    for row, column, bit in [(0, 0, 0), (49, 6, 31), (20, 3, 23), (20, 3, 31), (7, 1, 22)]:
        words = X.copy().view(np.uint32)
        words[row, column] ^= np.uint32(1 << bit)
        changed = words.view(np.float32)
        assert differing(IDS, changed, Y) == {"rows", "vectors"}
        seen.add(digest(IDS, changed, Y)["rows"])
    flipped = X.copy()
    flipped[5, :2] *= -1  # two signs of a row
    others = (flipped, np.roll(X, 1, axis=0), np.roll(X, 1, axis=1))
    seen |= {digest(IDS, changed, Y)["rows"] for changed in others}
    assert len(seen | {digest(IDS, X, Y)["rows"]}) == 9


def test_targets_count():
    changed = Y.copy()
    changed[3, 1] = np.nextafter(changed[3, 1], 9)
    assert differing(IDS, X, changed) == {"rows", "targets"}


TEXTS = IDS.astype(str).astype(object)


@pytest.mark.parametrize("ids", ["0" + TEXTS, "a" + TEXTS, IDS + 1, np.roll(IDS, 1)])
def test_ids_count(ids):
    assert differing(ids, X, Y) == {"rows", "targets", "vectors"}
    assert digest(ids, X, Y) == digest(ids, X, Y, (10,))
    assert differing(IDS[:-1], X[:-1], Y[:-1]) == {"rows", "targets", "vectors"}


def test_numbers_count_as_the_texts_that_write_them():
    assert not differing(TEXTS, X, Y)


def test_labels_count_with_the_ids_that_have_them():
    labels, order = RNG.choice(["x", "y", "z"], 50).astype(object), RNG.permutation(50)
    known = of_labels(IDS, labels, Y[:, 0])
    assert known == of_labels(IDS[order], labels[order], Y[order, 0])
    swapped = labels.copy()
    swapped[[0, 1]] = "x", "y"
    others = (of_labels(IDS, labels), of_labels(IDS, Y[:, 0], labels), of_labels(IDS, swapped),
              of_labels(IDS + 1, labels, Y[:, 0]), of_labels(IDS, np.roll(labels, 1)))  # fmt: skip
    assert len({known, *others}) == 6
