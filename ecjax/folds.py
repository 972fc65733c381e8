"""Folds: which rows each fold leaves out of training and which it scores, as arrays.

`random_folds` depends on the order of the rows, as scikit-learn's KFold does. All others depend on
nothing but the seed and the rows' ids (or the names of their groups): the same folds come out of
rows in any order. Where a choice is to be random, it is taken from `hashes`.

Axes: r seeds, k folds, n rows, h rows left out by a fold, h' rows that it scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

NOWHERE = -1  # the fold of a row that none scores


class Folds(NamedTuple):
    """Rows that take no part in each fold's training, for each of r seeds.

    Attributes:
      held_out: (r, k, h) int32, row numbers, first those that the fold scores; shorter folds are
        padded with n, a row out of range.
      sizes: (r, k) int64, the number of rows that each fold scores.
      rows: n.
      scored: (r, k, h') int32, the rows that each fold scores, padded likewise; they are the
        first of held_out's. None where every row is in held_out once: the folds divide the rows
        between them, and each scores all that it leaves out.
      names: k, of the groups or values that the folds are; () where they are none.
    """

    held_out: np.ndarray
    sizes: np.ndarray
    rows: int
    scored: np.ndarray | None = None
    names: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return self.held_out.shape[1]

    @property
    def divided(self) -> bool:
        """Whether the folds divide the rows between them."""
        return self.scored is None

    @property
    def tested(self) -> np.ndarray:
        """(r, k, h') the rows that each fold scores."""
        return self.held_out if self.scored is None else self.scored

    @property
    def left_out(self) -> np.ndarray:
        """(r, k): the number of rows in held_out."""
        return (self.held_out < self.rows).sum(2)

    @property
    def dropped(self) -> np.ndarray:
        """(r, k): the number of rows that a fold neither scores nor trains on."""
        return self.left_out - self.sizes

    @property
    def training(self) -> np.ndarray:
        """(r, k): the number of rows that each fold is trained on."""
        return self.rows - self.left_out

    def fold_of_row(self) -> np.ndarray:
        """(r, n) int64: the fold that scores each row, NOWHERE for none."""
        seeds, folds, _ = self.held_out.shape
        fold = np.full((seeds, self.rows), NOWHERE)
        for r in range(seeds):
            for k in range(folds):
                fold[r, self.held_out[r, k, : self.sizes[r, k]]] = k
        return fold


def random_folds(n: int, folds: int, seeds: tuple[int, ...]) -> Folds:
    """Shuffled folds, assigned exactly as scikit-learn's `KFold(folds, shuffle=True, seed)`.

    A permutation from NumPy's legacy generator is cut into contiguous parts, the first n % folds of
    them one row longer; each part is sorted.

    Args:
      n: number of rows.
      folds: number of folds, at least 2 and at most n.
      seeds: one assignment for each.
    """
    sizes = np.full(folds, n // folds, np.int64)
    sizes[: n % folds] += 1
    stops = np.cumsum(sizes)
    held_out = np.full((len(seeds), folds, int(sizes[0])), n, np.int32)
    for r, seed in enumerate(seeds):
        order = np.arange(n)
        np.random.RandomState(seed).shuffle(order)
        for k, (size, stop) in enumerate(zip(sizes, stops, strict=True)):
            held_out[r, k, :size] = np.sort(order[stop - size : stop])
    return Folds(held_out, np.broadcast_to(sizes, (len(seeds), folds)), n)


def as_folds(
    fold_of_row: np.ndarray,
    folds: int,
    dropped: Sequence[Sequence[np.ndarray]] | None = None,
    steady: bool = True,
) -> Folds:
    """Folds from the fold of each row.

    Args:
      fold_of_row: (r, n), NOWHERE for rows that no fold scores.
      dropped: r × k arrays of row numbers that a fold neither scores nor trains on.
      steady: whether the longest fold is as long for every seed. Where it is not, some padding is
        added, so that other seeds seldom bring another shape, for which all would be compiled anew.
    """
    seeds, n = fold_of_row.shape
    own = [[np.flatnonzero(fold == k) for k in range(folds)] for fold in fold_of_row]
    sizes = np.array([[len(rows) for rows in folds] for folds in own])
    divided = dropped is None and (fold_of_row != NOWHERE).all()
    scored = None if divided else padded(own, n, steady)
    if dropped is not None:
        own = [
            [np.concatenate(pair) for pair in zip(*of_seed, strict=True)]
            for of_seed in zip(own, dropped, strict=True)
        ]
    return Folds(padded(own, n, steady), sizes, n, scored)


def padded(rows: Sequence[Sequence[np.ndarray]], n: int, steady: bool) -> np.ndarray:
    """(r, k, h) int32 row numbers of r × k lists, padded with n; `steady` as for `as_folds`."""
    longest = max(len(some) for of_seed in rows for some in of_seed)
    if not steady:
        step = 2 ** max(0, longest.bit_length() - 4)  # an eighth to a sixteenth of it
        longest = min(n, -(-longest // step) * step)
    filled = np.full((len(rows), len(rows[0]), longest), n, np.int32)
    for r, of_seed in enumerate(rows):
        for k, some in enumerate(of_seed):
            filled[r, k, : len(some)] = some
    return filled


def hashes(names: Iterable[object], seed: int) -> np.ndarray:
    """(n,) uint64: BLAKE2b of each name's text (UTF-8), 8 bytes, big end first.

    The key is the text of the seed. So anyone can find the same numbers again; in Python:
    `int.from_bytes(hashlib.blake2b(b"name", digest_size=8, key=b"42").digest(), "big")`.
    """
    keyed = hashlib.blake2b(digest_size=8, key=str(seed).encode()).copy
    digests = bytearray()
    for name in names:
        digest = keyed()  # to copy one is faster than to make one
        digest.update(str(name).encode("utf-8", "surrogatepass"))
        digests += digest.digest()
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def hash_folds(ids: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(n,) the fold of each row: `hashes` of its id modulo the folds. Other rows do not matter."""
    return (hashes(ids.tolist(), seed) % np.uint64(folds)).astype(np.int64)


def stratified_folds(ids: np.ndarray, labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(n,) the fold of each row: class counts of folds differ by at most one, and so do sizes.

    Rows, sorted by class and in a class by the `hashes` of their ids, are dealt in turn.
    """
    order = np.lexsort((hashes(ids.tolist(), seed), labels))
    fold = np.empty(len(ids), np.int64)
    fold[order] = np.arange(len(ids)) % folds
    return fold


def group_folds(groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(n,) the fold of each row, whole groups dealt to folds of nearly equal numbers of rows.

    Large groups come first, each to the fold with the fewest rows. The order is that of size × u, u
    being between 1 and 2 by the `hashes` of the groups' names, so that seeds differ. Then, as long
    as that helps, the largest fold gives a group to another, or exchanges one for a smaller, and
    another fold does so with the smallest. So sizes are within a fifth of their mean where no group
    has more than 1/(2k) of the rows, unless nearly all are as large as that: of 2k + 1 equal groups
    one fold gets three and the others two, however they are dealt.

    Args:
      groups: (n,) names, all text or all whole numbers; at least as many as folds.
    """
    names, group_of_row, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    hashed = hashes(names.tolist(), seed)
    fold = np.empty(len(names), np.int64)
    load = np.zeros(folds, np.int64)
    for group in np.lexsort((hashed, -sizes * (1 + hashed / 2.0**64))):
        fold[group] = load.argmin()
        load[fold[group]] += sizes[group]
    _even_out(fold, load, sizes)
    return fold[group_of_row.reshape(-1)]


def _even_out(fold: np.ndarray, load: np.ndarray, sizes: np.ndarray) -> None:
    """Moves groups between the largest or the smallest fold and others as long as that helps.

    fold (g,) of each group and load (k,) rows of each fold, both changed in place; sizes (g,).
    """
    helped = True
    while helped:
        order = np.argsort(load, kind="stable")
        pairs = [(order[-1], low) for low in order[:-1]] + [
            (high, order[0]) for high in order[:0:-1]
        ]
        helped = any(_exchange(fold, load, sizes, high, low) for high, low in pairs)


def _exchange(fold: np.ndarray, load: np.ndarray, sizes: np.ndarray, high: int, low: int) -> bool:
    """Brings two folds together as closely as one group, or one for another, can; False: no way.

    Groups of one size are alike, so that sizes are compared and not groups.
    """
    gap = load[high] - load[low]
    gives, takes = np.flatnonzero(fold == high), np.flatnonzero(fold == low)
    given, first_given = np.unique(sizes[gives], return_index=True)
    taken, first_taken = np.unique(sizes[takes], return_index=True)
    moved = given[:, None] - np.append(taken, 0)  # rows; the last column takes nothing back
    off = np.where((moved > 0) & (moved < gap), np.abs(2 * moved - gap), gap)
    i, j = np.unravel_index(off.argmin(), off.shape)
    if off[i, j] == gap:
        return False
    fold[gives[first_given[i]]] = low
    if j < len(taken):
        fold[takes[first_taken[j]]] = high
    load[high] -= moved[i, j]
    load[low] += moved[i, j]
    return True


def one_each(names: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """(n,) the fold of each row where every name is a fold, and the names of the folds.

    Whole numbers come first, by size, then other text.
    """
    known = tuple(sorted(set(names.tolist()), key=_by_number))
    place = {name: i for i, name in enumerate(known)}
    return np.array([place[name] for name in names.tolist()]), known


def _by_number(name: str) -> tuple:
    number = name.removeprefix("-")
    whole = number.isascii() and number.isdigit() and len(number) < 19
    return (0, int(name), name) if whole else (1, 0, name)
