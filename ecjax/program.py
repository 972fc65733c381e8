"""What the study program is made from: `Program` is static, the others are data."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from jax import Array

from ecjax.inner import Choices
from ecjax.probe import Probe
from ecjax.subsets import Lattice, Part


@dataclasses.dataclass(frozen=True)
class Program:
    """What is compiled for one sample (tasks that share rows and embeddings).

    Attributes:
      lattice: subsets and order of elimination.
      gram, hat: the subsets whose ridge fits come from the moments of each fold's training rows,
        and those whose residuals come from the whole table's hat matrix; together all of them.
        In float32 all are in `gram`.
      classes: number of classes of each classification task.
      on_host: whether the Gram route runs on the host's BLAS (a CPU's own; see `host`).
      predictions: whether out-of-fold predictions of every row are returned.
      at_once: ridge systems solved side by side; 1 on a CPU, all folds on a GPU.
      fits_at_once: logistic fits that advance side by side: a few on a CPU, whose caches they
        should fit, all folds on a GPU.
      tasks: of each regression task, its first target and the one after its last. Under `strict`
        penalties are chosen for each of them.
      groups: under `strict`, groups of inner folds for ridge regression.
      bands: with a penalty for each embedding, the place of each of the lattice's blocks in the
        study's order; else ().
      dtype: of ridge regression's products and factors: "float64", or "float32", whose results are
        refined in float64. Logistic fits are the same under both: steps in float32 as far as that
        carries, gradients measured and fits finished in float64.
      probe: takes the place of ridge and logistic regression, see `probe`; None: they stand.
    """

    lattice: Lattice
    gram: Part | None
    hat: Part | None
    classes: tuple[int, ...]
    on_host: bool
    predictions: bool
    at_once: int
    fits_at_once: int
    tasks: tuple[tuple[int, int], ...]
    groups: int
    bands: tuple[int, ...]
    dtype: str
    probe: Probe | None = None


class SampleData(NamedTuple):
    """Arrays of one sample.

    Attributes:
      blocks: (n, p_m) for each embedding, in lattice order, as stored.
      y: (n, t) regression targets, t may be 0.
      labels: (n,) class codes of each classification task.
      held_out: (r, k, h) as `folds.Folds`.
      scored: (r, k, h'), or None, likewise.
      ridge, logistic: under `strict`, what penalties are chosen from; None under `paper`.
    """

    blocks: tuple[Array, ...]
    y: Array
    labels: tuple[Array, ...]
    held_out: Array
    scored: Array | None = None
    ridge: Choices | None = None
    logistic: Choices | None = None

    @property
    def divided(self) -> bool:
        """Whether the folds divide the rows between them."""
        return self.scored is None

    @property
    def tested(self) -> Array:
        """(r, k, h') the rows that each fold scores."""
        return self.held_out if self.scored is None else self.scored


class Penalties(NamedTuple):
    """Fixed penalties, not used under `strict`, and the tolerance of logistic fits; all ()."""

    ridge_lambda: Array
    logistic_c: Array
    logistic_tolerance: Array
