"""Samples and their parts: what is computed together.

A sample is tasks that share rows, embeddings and folds; a piece is some seeds and subsets of one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from ecjax import splits, subsets
from ecjax.align import AlignedTask
from ecjax.cost import Held
from ecjax.folds import Folds


@dataclasses.dataclass(frozen=True)
class Sample:
    """Tasks that share rows, embeddings and folds.

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

    @property
    def regression_targets(self) -> int:
        return sum(len(task.targets) for task in self.regression)

    @property
    def groups(self) -> tuple[tuple[AlignedTask, ...], ...]:
        """Tasks whose numbers come together: all regressions, then each classification."""
        alone = [(task,) for task in self.classification]
        return (self.regression, *alone) if self.regression else tuple(alone)

    def only(self, groups: Sequence[int]) -> Sample:
        """The sample with the tasks of these groups alone."""
        if len(groups) == len(self.groups):
            return self
        kept = [task for i in groups for task in self.groups[i]]
        kinds = ("regression", "classification")
        return Sample(self.names, *(tuple(t for t in kept if t.kind == kind) for kind in kinds))

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
      groups: positions of the sample's groups of tasks, ascending.
    """

    sample: int
    seeds: tuple[int, ...]
    subsets: tuple[tuple[int, ...], ...]
    groups: tuple[int, ...] = (0,)


def group_samples(tasks: Iterable[AlignedTask], split: str = "random") -> tuple[Sample, ...]:
    """Groups tasks that share rows and folds, in order of first appearance."""
    groups: dict[tuple, list[AlignedTask]] = {}
    for task in tasks:
        made = map(_hashable, splits.made_from(task, split))
        groups.setdefault((task.sample, *made), []).append(task)
    return tuple(
        Sample(
            tuple(group[0].embeddings),
            tuple(task for task in group if task.kind == "regression"),
            tuple(task for task in group if task.kind == "classification"),
        )
        for group in groups.values()
    )


def _hashable(part: np.ndarray | str | None):
    if not isinstance(part, np.ndarray):
        return part
    return tuple(map(str, part.tolist())) if part.dtype == object else part.tobytes()


def lattice_of(sample: Sample, wanted: Sequence[tuple[int, ...]]) -> subsets.Lattice:
    rank = {position: i for i, position in enumerate(sample.order)}
    widths = [sample.blocks[i].shape[1] for i in sample.order]
    return subsets.build_lattice(widths, [tuple(sorted(rank[i] for i in s)) for s in wanted])


def parts_of(lattice: subsets.Lattice, piece: Piece, hat: frozenset):
    """The piece's subsets for the Gram route and for the hat route."""
    routes = [
        [i for i, s in enumerate(piece.subsets) if (s in hat) == yes] for yes in (False, True)
    ]
    return tuple(subsets.part_of(lattice, members) for members in routes)


def held_by(folds: Folds) -> Held:
    """What folds cost by."""
    means = (math.ceil(rows.mean()) for rows in (folds.left_out, folds.sizes))
    return Held(*means, folds.held_out.shape[2], folds.tested.shape[2], folds.divided)
