"""Fingerprints of a task's rows, the same in whichever order, files or batches they come."""

from __future__ import annotations

import hashlib

import numpy as np

from ecjax import splits
from ecjax.align import AlignedTask
from ecjax.row_digest import RowDigest, of_classes, of_labels


def of_rows(task: AlignedTask, digest: RowDigest | None = None) -> dict[str, str]:
    """Of "rows" (everything that a task's numbers are made from), its "targets", its "vectors".

    Args:
      digest: of the rows, where the task does not hold them.
    """
    if digest is None:
        digest = RowDigest()
        y = of_classes(task.classes)[task.y] if task.classes else task.y
        digest.add(task.ids, y, list(task.embeddings.values()))
    targets = (task.kind, *task.targets, *task.classes)
    vectors = tuple(f"{name} {x.shape[1]}" for name, x in task.embeddings.items())
    about = {"rows": targets + vectors, "targets": targets, "vectors": vectors}
    return {
        part: hashlib.sha256("\0".join((*about[part], text)).encode()).hexdigest()
        for part, text in digest.texts().items()
    }


def of_split(task: AlignedTask, split: str) -> str:
    """Of what a split of the task's rows is made from; of "spatial": its places."""
    made = splits.made_from(task, split)
    return of_labels(task.ids, *(part for part in made if np.ndim(part) == 1))


def of_folds(ids: np.ndarray, fold_of_row: np.ndarray) -> str:
    """Of which fold (n,) scores which id."""
    return of_labels(ids, fold_of_row)


def folds_key(folds: int, seed: int) -> str:
    """Under which a manifest has the fingerprint of some folds."""
    return f"{folds} folds, seed {seed}"


def in_order(ids: np.ndarray) -> str:
    """Of ids in the order that they are in."""
    return hashlib.sha256("\0".join(map(str, ids.tolist())).encode()).hexdigest()
