"""What cells are of: keys that say all that their numbers depend on, and which cells give what.

A key has a base (the content of the rows, every setting that can change a number, the engine), and
the seeds and subsets that there are numbers of. Numbers of the same base fit together, whatever
the cells that they were computed in.

Axes: r seeds, s subsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Key(NamedTuple):
    """What some numbers are of.

    Attributes:
      base: fingerprint of all that they share.
      seeds: (r,) fingerprints of each seed's folds and of what penalties are chosen from.
      subsets: (s,) names joined by `+`.
    """

    base: str
    seeds: tuple[str, ...]
    subsets: tuple[str, ...]


class Use(NamedTuple):
    """What is taken from one stored cell.

    Attributes:
      number: of the cell.
      seeds: (r',) places of all its seeds among those wanted.
      subsets: (s',) places of its subsets among those wanted, −1 for those that are not used.
    """

    number: int
    seeds: np.ndarray
    subsets: np.ndarray


class Rectangle(NamedTuple):
    """Seeds × subsets by their places."""

    seeds: tuple[int, ...]
    subsets: tuple[int, ...]


def cover(wanted: Key, stored: Sequence[Key]) -> tuple[list[Use], list[Rectangle]]:
    """Which stored cells give the wanted numbers, each once, and what none gives.

    A cell serves only with all its seeds, for it holds losses of rows summed over them. Large cells
    come first, then those of the first seeds, so that equal stores are used alike.
    """
    given = np.zeros((len(wanted.seeds), len(wanted.subsets)), bool)
    seed_place = {seed: i for i, seed in enumerate(wanted.seeds)}
    subset_place = {subset: i for i, subset in enumerate(wanted.subsets)}
    uses = []
    for number in sorted(range(len(stored)), key=lambda i: _rank(stored[i], seed_place)):
        key = stored[number]
        seeds = np.array([seed_place.get(seed, -1) for seed in key.seeds], int)
        if key.base != wanted.base or not len(seeds) or (seeds < 0).any():
            continue
        subsets = np.array([subset_place.get(name, -1) for name in key.subsets], int)
        free = (subsets >= 0) & ~given[np.ix_(seeds, subsets)].any(0)
        if free.any():
            given[np.ix_(seeds, subsets[free])] = True
            uses.append(Use(number, seeds, np.where(free, subsets, -1)))
    uses.sort(key=lambda use: (use.seeds.min(), use.subsets[use.subsets >= 0].min()))
    return uses, _rectangles(~given)


def _rank(key: Key, seed_place: dict[str, int]) -> tuple:
    first = min((seed_place.get(seed, -1) for seed in key.seeds), default=-1)
    return -len(key.seeds) * len(key.subsets), first, key


def _rectangles(missing: np.ndarray) -> list[Rectangle]:
    """Seeds that lack the same subsets, together; missing: (r, s)."""
    groups: dict[bytes, list[int]] = {}
    for i, row in enumerate(missing):
        if row.any():
            groups.setdefault(row.tobytes(), []).append(i)
    return [
        Rectangle(tuple(seeds), tuple(np.flatnonzero(missing[seeds[0]]).tolist()))
        for seeds in groups.values()
    ]
