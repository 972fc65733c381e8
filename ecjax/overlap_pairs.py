"""All measures of overlap of two embeddings on the same rows, with intervals.

Rows are dealt to `GROUPS` groups. Everything comes from the groups' moments, of which an interval
takes those of one group after the other away, and which are the folds that ridge regression
predicts. For the canonical correlations another pass sums columns that the first has made white,
so that they lose no more digits than by a QR of the rows.

Axes: n rows, p columns of an embedding, g groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ecjax import blas, host_between, inner, products, similarity
from ecjax.errors import counted
from ecjax.host_folds import Scatter
from ecjax.similarity import Moments

GROUPS = 20
LEAST_ROWS = 2 * GROUPS  # of intervals, and of predictions
NO_INTERVAL = f"fewer than {LEAST_ROWS} rows, too few for an interval"


class Estimate(NamedTuple):
    """One number of the table; NaN where undefined, and then `reason` says why."""

    measure: str
    value: float
    low: float
    high: float
    reason: str


class Block:
    """One embedding on a sample's rows: x (n, p), with the means that its sums are about."""

    def __init__(self, name: str, x: np.ndarray, tile: int = products.TILE):
        self.name, self.x, self.width, self.tile = name, x, x.shape[1], tile
        self.mean, self.unit_mean, self.constant_rows = products.centres(x, tile)


def single(block: Block, groups: Sequence[np.ndarray], confidence: float) -> Estimate:
    """The participation ratio of one embedding."""
    parts = products.moments_of([block.x], groups, lambda x: [x[0] - block.mean], block.tile)
    total = products.total_of(parts)
    constant = products.constant_columns(total, block.mean)
    parts = [products.without(part, constant) for part in parts]
    reason = _few(total.count) or _constant([block], constant, [0])
    return _estimate(
        "participation_ratio", similarity.participation_ratio, parts, confidence, reason
    )


class PairSums(NamedTuple):
    """What all measures of two embeddings start from.

    Attributes:
      blocks: the two, of p and p' columns.
      groups: row numbers of each group.
      parts: of each group, moments of the p + p' columns, each about `origin` and 0 where it is
        constant, and of two more, the squared lengths of both rows.
      origin: (p + p',) means.
      constant: (p + p',) whether a column is.
    """

    blocks: tuple[Block, Block]
    groups: Sequence[np.ndarray]
    parts: list[Moments]
    origin: np.ndarray
    constant: np.ndarray

    @property
    def plain(self) -> list[Moments]:
        """`parts` without the lengths."""
        return [part.of(slice(len(self.origin))) for part in self.parts]


def sums_of(first: Block, second: Block, groups: Sequence[np.ndarray]) -> PairSums:
    """One pass over the rows of two embeddings.

    Args:
      groups: row numbers of each of at most GROUPS groups, none empty.
    """
    blocks = first, second
    origin = np.concatenate([first.mean, second.mean])

    def augmented(own: list[np.ndarray]) -> list[np.ndarray]:
        centred = [rows - block.mean for rows, block in zip(own, blocks, strict=True)]
        return centred + [np.einsum("ij,ij->i", rows, rows)[:, None] for rows in centred]

    parts = products.moments_of([first.x, second.x], groups, augmented, first.tile)
    total = products.total_of(parts)
    constant = products.constant_columns(total.of(slice(len(origin))), origin)
    parts = [products.without(part, np.append(constant, [False] * 2)) for part in parts]
    return PairSums(blocks, groups, parts, origin, constant)


def alike(sums: PairSums, confidence: float) -> list[Estimate]:
    """The measures that are the same from either side.

    Args:
      sums: of `sums_of`.
      confidence: level of the intervals.
    """
    blocks, groups, plain = sums.blocks, sums.groups, sums.plain
    p, n = blocks[0].width, sum(map(len, groups))
    flat = _constant(blocks, sums.constant, [0, p])
    one_row = _few(n) if n == 1 else ""

    def add(measure: str, function: Callable, parts: Sequence[Moments], reason: str) -> Estimate:
        return _estimate(measure, function, parts, confidence, reason)

    few = f"{counted(n, 'row')}, and the unbiased form needs four" if n < 4 else ""
    return [
        add("cka", lambda m: similarity.cka(m, p), plain, _few(n) or flat),
        add("cka_debiased", lambda m: similarity.cka_debiased(m, p), sums.parts, few or flat),
        *_canonical(blocks, plain, sums.origin, groups, one_row or flat, confidence),
        _rsa(blocks, groups, add),
    ]


def predicted(sums: PairSums, confidence: float) -> tuple[Estimate, Estimate]:
    """R² of the first predicted from the second, and back; arguments as of `alike`."""
    (first, second), plain = sums.blocks, sums.plain
    p, q = first.width, len(sums.origin)
    back = np.r_[p:q, :p]
    turned = [Moments(m.count, m.sums[back], m.products[np.ix_(back, back)]) for m in plain]
    return (
        _predicted(turned, second.width, first.name, confidence),
        _predicted(plain, p, second.name, confidence),
    )


def _canonical(blocks, plain, origin, groups, known: str, confidence: float) -> list[Estimate]:
    """Mean squared canonical correlations of raw columns, of centred ones, and weighted."""
    total, p = products.total_of(plain), blocks[0].width
    centred, mean = total.centred, origin + total.sums / total.count
    with blas.one_thread():
        white = [
            similarity.whitening(centred[own, own], mean[own]) for own in (slice(p), slice(p, None))
        ]
    reason, n = known, total.count
    ranks = [w.weights.shape[1] for w in white]
    dimensions = max(sum(ranks) + 1, sum(w.raw for w in white))
    for block, w in zip(blocks, white, strict=True):
        if w.doubtful and not reason:
            reason = f"some columns of {block.name} nearly depend on others, too nearly to tell"
    if not reason and dimensions > n:
        reason = (
            f"the two have {sum(ranks):,} independent columns together on {counted(n, 'row')}, so "
            "that some correlations are 1 whatever they hold"
        )
    constant = white[0].constant, white[1].constant
    parts, about = plain, np.zeros(sum(ranks))
    if not reason:

        def columns(own: list[np.ndarray]) -> list[np.ndarray]:
            return [(x - b.mean) @ w.weights for x, b, w in zip(own, blocks, white, strict=True)]

        about = np.concatenate([b.mean @ w.weights for b, w in zip(blocks, white, strict=True)])
        parts = products.moments_of([b.x for b in blocks], groups, columns, blocks[0].tile)
    return _estimates(
        ("cca", "cca_centred", "cca_weighted"),
        lambda m: similarity.canonical(m, ranks[0], about, constant),
        parts,
        confidence,
        reason,
    )


def _rsa(blocks, groups, add) -> Estimate:
    p, n = blocks[0].width, sum(map(len, groups))
    origin = np.concatenate([block.unit_mean for block in blocks])
    reasons = [
        f"{b.name} has one column, and rows of one number correlate with nothing"
        if b.width == 1
        else f"{counted(b.constant_rows, 'row')} of {b.name} are the same in all columns, and "
        "correlate with nothing"
        for b in blocks
        if b.constant_rows or b.width == 1
    ]
    if n < 3:
        reasons.insert(0, f"{counted(n, 'row')}, and pairs of rows can differ from three on")
    if reasons:
        return add("rsa", None, [], reasons[0])

    def columns(own: list[np.ndarray]) -> list[np.ndarray]:
        return [products.unit_rows(x)[0] - b.unit_mean for x, b in zip(own, blocks, strict=True)]

    parts = products.moments_of([b.x for b in blocks], groups, columns, blocks[0].tile)
    return add("rsa", lambda m: similarity.rsa(m, origin, p), parts, "")


def _predicted(parts: Sequence[Moments], p: int, name: str, confidence: float) -> Estimate:
    """R² of the columns from p on, each in its standard deviations, predicted from the first p."""
    total = products.total_of(parts)
    if total.count < LEAST_ROWS:
        reason = f"fewer than {LEAST_ROWS} rows, too few for {GROUPS} folds"
        return Estimate("r2", np.nan, np.nan, np.nan, reason)
    variance = np.diagonal(total.centred) / total.count
    inverse = np.divide(1, np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0)
    if not inverse[p:].any():
        reason = f"all columns of {name} are constant"
        return Estimate("r2", np.nan, np.nan, np.nan, reason)
    mean = total.sums / total.count
    folds = [
        Scatter(
            m.count, (m.sums / m.count - mean) * inverse, m.centred * inverse * inverse[:, None]
        )
        for m in parts
    ]
    k = len(folds)
    grid = inner.ridge_grid(None, np.array([[total.count - m.count for m in parts]]))[0]
    groups = inner.groups_of_folds(k, inner.group_count(k, None, "regression"))
    lost = host_between.squared_errors(folds, p, grid, groups).sum(axis=1)
    spread = np.array([
        np.trace(fold.products[p:, p:]) + fold.count * (fold.mean[p:] ** 2).sum() for fold in folds
    ])  # fmt: skip
    value = 1 - lost.sum() / spread.sum()
    deleted = 1 - (lost.sum() - lost) / (spread.sum() - spread)
    return Estimate("r2", value, *similarity.jackknife(value, deleted, confidence), "")


def _estimate(
    measure: str,
    function: Callable[[Moments], float] | None,
    parts: Sequence[Moments],
    confidence: float,
    reason: str,
) -> Estimate:
    """A measure of all rows' moments, and its interval from those of groups."""
    return _estimates((measure,), lambda m: (function(m),), parts, confidence, reason)[0]


def _estimates(
    measures: Sequence[str],
    function: Callable[[Moments], Sequence[float]],
    parts: Sequence[Moments],
    confidence: float,
    reason: str,
) -> list[Estimate]:
    """Several measures that are made together and undefined together, with their intervals."""
    nothing = np.nan, np.nan, np.nan
    if reason:
        return [Estimate(measure, *nothing, reason) for measure in measures]
    total = products.total_of(parts)
    enough = total.count >= LEAST_ROWS
    with blas.one_thread():  # several wait for each other on matrices as small as these
        values = function(total)
        deleted = np.array([function(total.less(part)) for part in parts if enough])
    found = []
    for i, (measure, value) in enumerate(zip(measures, values, strict=True)):
        if np.isnan(value):
            found.append(Estimate(measure, *nothing, UNDEFINED[measure]))
        elif not enough:
            found.append(Estimate(measure, value, *nothing[:2], NO_INTERVAL))
        else:
            ends = similarity.jackknife(value, deleted[:, i], confidence)
            lost = "undefined without some of the rows" if np.isnan(ends[0]) else ""
            found.append(Estimate(measure, value, *ends, lost))
    return found


UNDEFINED = {
    "cka_debiased": "too few rows: what is left of an embedding's own HSIC without its bias is not "
    "positive",
    "rsa": "all rows of an embedding correlate alike",
} | dict.fromkeys(
    ("cka", "cca", "cca_centred", "cca_weighted", "participation_ratio"), "nothing varies"
)


def _few(n: int) -> str:
    if n > 2:
        return ""
    return "there is only one row" if n == 1 else "of two rows it is 1 whatever they hold"


def _constant(blocks, constant: np.ndarray, starts: Sequence[int]) -> str:
    for block, start in zip(blocks, starts, strict=True):
        if constant[start : start + block.width].all():
            return f"all columns of {block.name} are constant"
    return ""
