"""What logistic regression costs: fits stop at a tolerance, so that it can only be assumed.

Axes: n rows, p columns, c classes, k folds, h held-out rows, m groups of inner folds, g rows of
a group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ecjax.cost import Cost

# Pairs of matrix products that a fit takes for each decade of the tolerance. At 1e-5, fits of real
# crops take 29 to 88 (6 to 18 a decade), those of made-up rows 6 where the columns are few for the
# rows and 30 where they are many; a number between errs by less than 4 times in seconds.
EVALUATIONS_PER_DECADE = 4.0
# The Hessians that shape a fit's steps are of the whole table, and it takes more steps where its
# training rows lie elsewhere, as in folds of places and groups: 90 to 295 in an inner fit of real
# crops, which takes 19 to 37 with those of its own rows. CPU seconds against those of random folds,
# 5 folds under `strict`, at a `column_shift` of: 0.136, 3.1 times (real crops, 3,596 rows); 0.123,
# 2.2 times (1,200 of them); 0.192, 1.9 times (those, by groups). The estimate grows 2.9, 2.6 and
# 3.4 times. Classes that are told apart without error take few steps whatever the folds: the data
# sets of the same rows took 1.0 times as long at 0.123, where it grows 2.5 times. Biomass in five
# classes has no shift in spatial folds, and took 1.1 times.
OF_SHIFT = 22.0
CHANCE = 2.0  # times the shift of rows drawn at random, up to which there is none
LOOKED_AT = 32  # columns of each embedding whose shift is looked at
BLOCK = 4.0  # p³ operations of inverting a class's block: its factor, its solve, their product


class LogisticRates(NamedTuple):
    """Seconds for each operation of a product, logit of an evaluation (the exponential, and the
    trials of its line search), operation on a class block, and evaluation of a batch."""

    product: float
    logit: float
    block: float
    batch: float


# Fitted to 29 studies of 500 to 20,000 rows, 8 to 576 columns and 2 to 20 classes with known
# evaluations, on 2 cores of a 2.x GHz Xeon, steps in float32, JAX 0.10: 0.7 to 1.3 times the time
# measured, but 2 times where a study takes a few hundredths of a second.
LOGISTIC = LogisticRates(5e-12, 9e-9, 9e-12, 3e-4)


def logistic_evaluations(tolerance: float, shift: float = 0.0) -> float:
    """Pairs of matrix products that a fit is assumed to take to a tolerance.

    shift: `column_shift` of the fits' training rows.
    """
    decades = max(1.0, -float(np.log10(tolerance)))
    return EVALUATIONS_PER_DECADE * decades * (1 + OF_SHIFT * shift)


def column_shift(
    blocks: Sequence[np.ndarray], held_out: np.ndarray, groups: np.ndarray | None
) -> float:
    """How far the training rows of logistic fits lie from the table, the mean of the fits.

    That is the difference of the columns' means, root mean square, in standard deviations of the
    table, beyond `CHANCE` times √(1/m − 1/n), which m of n rows drawn at random have.

    Args:
      blocks: (n, p_m) of each embedding, of whose columns some are looked at.
      held_out: (k, h) rows that each fold leaves out, n for none.
      groups: (k, m, g) of one seed, as `inner.Choices.rows`; None where penalties are fixed.
    """
    found = [_mean_gaps(x[:, :: -(-x.shape[1] // LOOKED_AT)], held_out, groups) for x in blocks]
    rows, n = np.maximum(found[0][1], 1), len(blocks[0])
    shift = np.sqrt((np.concatenate([gaps for gaps, _ in found], axis=1) ** 2).mean(1))
    return float(np.maximum(shift - CHANCE * np.sqrt(1 / rows - 1 / n), 0).mean())


def _mean_gaps(
    x: np.ndarray, held_out: np.ndarray, groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """How far the means of each fit's training rows lie from the table's (f, p), in its standard
    deviations, and how many rows these are (f,). Arguments as of `column_shift`."""
    n, deviation = len(x), x.std(0, dtype=float)
    z = np.ones((n, x.shape[1] + 1))  # the last column counts rows
    z[:, :-1] = (x - x.mean(0, dtype=float)) / np.where(deviation > 0, deviation, 1)

    def sums(rows: np.ndarray) -> np.ndarray:
        lists = rows.reshape(-1, rows.shape[-1])
        found = np.array([z[some[some < n]].sum(0) for some in lists])
        return found.reshape(*rows.shape[:-1], -1)

    if groups is None:
        training = z.sum(0) - sums(held_out)
    else:  # the fits of `nested_logistic`
        of_groups = sums(groups)
        outer = of_groups.sum(1, keepdims=True)
        training = np.concatenate([outer - of_groups, outer, outer], axis=1)
    training = training.reshape(-1, z.shape[1])
    rows = training[:, -1]
    return training[:, :-1] / np.maximum(rows, 1)[:, None], rows


def logistic_cost(
    widths: Iterable[int], n: int, c: int, folds: int, seeds: int, at_once: int, evaluations: float
) -> Cost:
    """Of one task's logistic fits, all folds and seeds.

    Args:
      widths: columns of each subset as its solver pads them.
      c: classes.
      at_once: fits that advance side by side.
      evaluations: pairs of matrix products of a fit.
    """
    p = np.array(list(widths), float) + 1  # and the intercept
    batches = -(-folds // at_once)
    fits = seeds * batches * -(-folds // batches) + 1  # that of the whole table too
    # A step takes two products with the rows and one with the preconditioner.
    products = fits * evaluations * c * (4 * n * p + 2 * p**2)
    blocks = (c + 1) * (2 * n * p**2 + BLOCK * p**3)
    logits = fits * evaluations * c * n * len(p)
    calls = seeds * batches * evaluations * len(p)
    sums = products.sum(), logits, blocks.sum(), calls
    return Cost(float(sums[0] + sums[2]), float(np.dot(sums, LOGISTIC)))
