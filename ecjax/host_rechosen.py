"""`rechosen.choose` on the host's BLAS: one outer fold on each core.

Here a row that was drawn several times simply stands in the table as often. Replicates and seeds go
one after the other, so that no more is held than where penalties are chosen first.

Axes as in `rechosen`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ecjax import host
from ecjax.host_folds import fold_of, united
from ecjax.host_nested import scatter_of
from ecjax.subsets import Lattice


def choose(
    blocks: Sequence[np.ndarray],
    y: np.ndarray,
    weights: np.ndarray,
    rows: np.ndarray,
    grid: np.ndarray,
    places: np.ndarray,
    lattice: Lattice,
    groups: tuple[tuple[int, ...], ...],
    tasks: Sequence[tuple[int, int]],
    bands: Sequence[int],
) -> np.ndarray:
    """As `rechosen.choose`, in float64, with the fields of `rechosen.How`."""
    (r, k), t = rows.shape[:2], y.shape[1]
    found = np.repeat(places, len(weights), axis=0).astype(float)
    group_of = np.array(groups, int)
    cores = host.available_cores()
    with ThreadPoolExecutor(cores) as pool:
        z = host.standardised(pool, [*blocks, y])

        def replicate(often: np.ndarray, seed: int, chosen: np.ndarray) -> None:
            def drawn(some: np.ndarray):
                some = some[some < len(z)]
                return scatter_of(z, np.repeat(some, often[some]))

            parts = list(pool.map(drawn, rows[seed])) if groups else None

            def lane(folds: range) -> None:
                for i in folds:
                    own = united(parts, group_of[i]) if groups else map(drawn, rows[seed, i])
                    own = [group for group in own if group.count]
                    if len(own) > 1:
                        fold = fold_of(lattice, t, grid[seed, i], tasks, bands)
                        place, _ = fold.choose(own)
                        chosen[i] = place if bands else place[..., None]

            list(pool.map(lane, [range(i, k, cores) for i in range(cores)]))

        for often, of_seeds in zip(weights.astype(int), found, strict=True):
            for seed in range(r):
                replicate(often, seed, of_seeds[seed])
    return found
