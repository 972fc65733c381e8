"""The plan of a run: which samples, seeds and subsets go into which compiled call.

A chunk is one call of `engine.study`. The whole study is one chunk where memory allows; else it is
cut by sample, then by seeds, then by subsets, none of which changes what is computed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence

import jax
import numpy as np

from ecjax import engine, folds, subsets
from ecjax.align import AlignedTask, check_rows
from ecjax.errors import InputError
from ecjax.settings import Settings

GIB = 2**30
FLOAT = 8  # bytes
DEFAULT_SHARE = 0.7


@dataclasses.dataclass(frozen=True)
class Sample:
    """Tasks that share rows and embeddings.

    Attributes:
      names: embeddings, in the study's order.
      regression, classification: the tasks.
    """

    names: tuple[str, ...]
    regression: tuple[AlignedTask, ...]
    classification: tuple[AlignedTask, ...]

    @property
    def tasks(self) -> tuple[AlignedTask, ...]:
        return (*self.regression, *self.classification)

    @property
    def rows(self) -> int:
        return len(self.tasks[0].ids)

    @property
    def blocks(self) -> list[np.ndarray]:
        return list(self.tasks[0].embeddings.values())

    @property
    def order(self) -> tuple[int, ...]:
        """Lattice order of the embeddings."""
        return subsets.lattice_order([x.shape[1] for x in self.blocks], self.names)

    def columns(self, task: AlignedTask) -> tuple[int, ...]:
        """Columns of the sample's regression targets that are this task's."""
        start = 0
        for other in self.regression:
            if other is task:
                return tuple(range(start, start + len(task.targets)))
            start += len(other.targets)
        return ()


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of one sample that is computed in one call.

    Attributes:
      sample: position of the sample.
      seeds: positions of the seeds.
      subsets: position tuples in the study's order.
    """

    sample: int
    seeds: tuple[int, ...]
    subsets: tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Samples and chunks of one setting.

    Attributes:
      samples: the tasks, grouped by rows.
      chunks: what each compiled call computes.
      folds: of each sample, for all seeds.
      subsets: of each sample, in the study's order.
      at_once, fits_at_once: what is solved side by side, see `engine.Program`.
      operations: floating-point operations, logistic fits at an assumed number of steps.
    """

    samples: tuple[Sample, ...]
    chunks: tuple[tuple[Piece, ...], ...]
    folds: tuple[folds.Folds, ...]
    subsets: tuple[tuple[tuple[int, ...], ...], ...]
    at_once: int
    fits_at_once: int
    operations: float

    def program(self, piece: Piece, predictions: bool, dtype: str) -> engine.Program:
        """The static part of a piece."""
        sample = self.samples[piece.sample]
        return engine.Program(
            lattice=_lattice(sample, piece.subsets),
            classes=tuple(len(task.classes) for task in sample.classification),
            predictions=predictions,
            at_once=self.at_once,
            fits_at_once=self.fits_at_once,
            dtype=dtype,
        )

    def data(self, piece: Piece) -> engine.SampleData:
        """The arrays of a piece."""
        sample = self.samples[piece.sample]
        none = np.zeros((sample.rows, 0))
        return engine.SampleData(
            blocks=tuple(sample.blocks[i] for i in sample.order),
            y=np.concatenate([none, *(task.y for task in sample.regression)], axis=1),
            labels=tuple(task.y for task in sample.classification),
            held_out=self.folds[piece.sample].held_out[list(piece.seeds)],
        )


def group_samples(tasks: Iterable[AlignedTask]) -> tuple[Sample, ...]:
    """Groups tasks that share rows, in order of first appearance."""
    groups: dict[int, list[AlignedTask]] = {}
    for task in tasks:
        groups.setdefault(task.sample, []).append(task)
    return tuple(
        Sample(
            tuple(group[0].embeddings),
            tuple(task for task in group if task.kind == "regression"),
            tuple(task for task in group if task.kind == "classification"),
        )
        for group in groups.values()
    )


def make_plan(tasks: Sequence[AlignedTask], settings: Settings, device: jax.Device) -> Plan:
    """Plans one setting.

    Raises:
      InputError: too few rows for the folds, unknown subsets, or a memory budget that not even one
        subset of one seed fits into.
    """
    for task in tasks:
        check_rows(task, settings.folds)
    samples = group_samples(tasks)
    wanted = tuple(
        subsets.requested(s.names, settings.subsets, settings.max_subset_size) for s in samples
    )
    assigned = tuple(
        folds.random_folds(s.rows, settings.folds, settings.seed_list()) for s in samples
    )
    seeds = tuple(range(settings.seeds))
    whole = tuple(Piece(i, seeds, wanted[i]) for i in range(len(samples)))
    budget = memory_budget(settings, device)
    at_once, fits_at_once = (1, 5) if device.platform == "cpu" else (settings.folds,) * 2

    def bytes_of(piece: Piece) -> float:
        sample = samples[piece.sample]
        return _memory(sample, piece, settings.folds, at_once, settings.predictions)

    if sum(bytes_of(piece) for piece in whole) <= budget:
        chunks = (whole,)
    else:
        chunks = tuple(
            (part,) for piece in whole for part in _split(piece, samples, bytes_of, budget)
        )
    operations = sum(_operations(samples[p.sample], p, settings.folds) for p in whole)
    return Plan(samples, chunks, assigned, wanted, at_once, fits_at_once, operations)


def memory_budget(settings: Settings, device: jax.Device) -> float:
    """Bytes that a call may use."""
    if settings.max_memory_gib:
        return settings.max_memory_gib * GIB
    statistics = device.memory_stats() or {}
    total = statistics.get("bytes_limit")
    if total is None:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return DEFAULT_SHARE * total


def _lattice(sample: Sample, wanted: Sequence[tuple[int, ...]]) -> subsets.Lattice:
    rank = {position: i for i, position in enumerate(sample.order)}
    widths = [sample.blocks[i].shape[1] for i in sample.order]
    return subsets.build_lattice(widths, [tuple(sorted(rank[i] for i in s)) for s in wanted])


def _split(piece: Piece, samples, bytes_of, budget: float) -> list[Piece]:
    """Halves a piece by seeds, then by subsets, until each part fits."""
    if bytes_of(piece) <= budget:
        return [piece]
    for field in ("seeds", "subsets"):
        items = getattr(piece, field)
        if len(items) > 1:
            middle = (len(items) + 1) // 2
            halves = (items[:middle], items[middle:])
            return [
                part
                for half in halves
                for part in _split(
                    dataclasses.replace(piece, **{field: half}), samples, bytes_of, budget
                )
            ]
    sample = samples[piece.sample]
    name = subsets.name(piece.subsets[0], sample.names)
    raise InputError(
        f'task "{sample.tasks[0].name}": one seed of {name} on {sample.rows:,} rows needs about '
        f"{bytes_of(piece) / GIB:.2f} GiB, and the budget is {budget / GIB:.2f} GiB; "
        f"raise --max_memory_gib or lower --folds"
    )


def _memory(sample: Sample, piece: Piece, k: int, at_once: int, predictions: bool) -> float:
    """Bytes of a piece's arrays in and out and of its largest working set; an upper estimate."""
    n, s, r = sample.rows, len(piece.subsets), len(piece.seeds)
    widths = [x.shape[1] for x in sample.blocks]
    p = sum(widths)
    widest = max(sum(widths[i] for i in subset) for subset in piece.subsets)
    t = sum(len(task.targets) for task in sample.regression)
    inputs = sum(x.nbytes for x in sample.blocks) + n * t * FLOAT
    working = 3 * n * p * FLOAT
    outputs = 0.0
    if t:
        h = -(-n // k)
        fold = h * p + 8 * p * p + 3 * s * p * t + 3 * h * s * t
        working += fold * at_once * FLOAT
        outputs += (r * s * k * t + (3 * r * s * n * t if predictions else 0)) * FLOAT
    for task in sample.classification:
        c = len(task.classes)
        rows = 9 * k * c * n  # logits, direction, residuals and temporaries
        weights = 26 * k * c * widest + 2 * (s + 1) * (k + 1) * c * (p + 2)
        blocks = 5 * c * widest * widest
        working += (rows + weights + blocks + 2 * n * widest + 2 * s * n * c) * FLOAT
        outputs += (r * s * n * c if predictions else 0) * FLOAT
    return inputs + working + outputs


LOGISTIC_STEPS = 60  # pairs of matrix products that a fit is assumed to take


def _operations(sample: Sample, piece: Piece, k: int) -> float:
    """Floating-point operations of a piece."""
    n, r = sample.rows, len(piece.seeds)
    widths = [x.shape[1] for x in sample.blocks]
    p = sum(widths)
    of_subset = np.array([sum(widths[i] for i in subset) for subset in piece.subsets], float)
    t = sum(len(task.targets) for task in sample.regression)
    operations = 0.0
    if t:
        gram = 2 * n * p * p * (1 + r)
        factors = r * k * (of_subset**3).sum() / 3
        operations += gram + factors + 2 * r * n * of_subset.sum() * t
    for task in sample.classification:
        c = len(task.classes)
        steps = 4 * n * k * c * of_subset * LOGISTIC_STEPS * 2  # as much again beside the products
        blocks = c * (2 * n * of_subset**2 + 4 * of_subset**3)
        operations += r * (steps + blocks).sum()
    return operations
