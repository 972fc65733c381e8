"""How a task's rows are dealt to folds, by the flag `--split`, and what stands in the way.

| split | question that its scores answer |
|---|---|
| random, stratified, hash | new rows drawn like these, also between them |
| group, spatial | rows of groups, or of cells, of which none was seen in training |
| column | whatever the column's author had in mind |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecjax import sphere
from ecjax.align import AlignedTask, check_rows, few_members
from ecjax.errors import InputError, UsageError, counted, listing, quote
from ecjax.folds import (
    NOWHERE,
    Folds,
    as_folds,
    group_folds,
    hash_folds,
    one_each,
    random_folds,
    stratified_folds,
)
from ecjax.notes import (
    CONSTANT_IN_FOLD,
    NEAR_IN_TRAINING,
    NEAR_KM,
    TASK_TABLE,
    Note,
    constant_columns,
    near_neighbours,
    note_rows,
)
from ecjax.settings import Settings

TRAINING, TEST = ("train", "trainval"), "test"
UNEVEN = 0.2  # of the mean number of rows: folds are noted that differ by more
_LARGEST = "uneven folds, the largest of"
_MOST_DROPPED = "dropped by buffer, at most"


class Dealing(NamedTuple):
    """One split of one task.

    Attributes:
      folds: k.
      deal: seed → (n,) fold of each row.
      steady: as `folds.as_folds` takes it.
      names: of the folds, as `folds.Folds`.
    """

    folds: int
    deal: Callable[[int], np.ndarray]
    steady: bool = True
    names: tuple[str, ...] = ()


def folds_of(task: AlignedTask, settings: Settings) -> Folds:
    """The folds of a task, for all seeds.

    Raises:
      InputError: the task lacks what the split is made from, or has too little of it.
      UsageError: there is no such split of this kind of task.
    """
    if settings.split == "random":
        check_rows(task, settings.folds)
        return random_folds(len(task.ids), settings.folds, settings.seed_list())
    dealing = dealing_of(task, settings)
    fold_of_row = np.array([dealing.deal(seed) for seed in settings.seed_list()])
    counts = [np.bincount(own[own != NOWHERE], minlength=dealing.folds) for own in fold_of_row]
    check_none_empty(task, counts, settings)
    if not settings.buffer_km:
        folds = as_folds(fold_of_row, dealing.folds, steady=dealing.steady)
        return folds._replace(names=dealing.names)
    dropped = _buffer(task, dealing.folds, fold_of_row, settings.buffer_km)
    folds = as_folds(fold_of_row, dealing.folds, dropped, dealing.steady)
    if not folds.training.all():
        seed, fold = np.argwhere(folds.training == 0)[0]
        raise InputError(
            f"task {quote(task.name)}: --buffer_km={settings.buffer_km:g} leaves no row to train "
            f"on in fold {fold} of seed {settings.seed_list()[seed]}; use a smaller buffer"
        )
    return folds


def dealing_of(task: AlignedTask, settings: Settings) -> Dealing:
    """How a split other than "random" deals a task's rows; raises as `folds_of`."""
    return _DEALINGS[settings.split](task, settings)


def made_from(task: AlignedTask, split: str) -> tuple:
    """What a split of the task's rows depends on beside their number, order and ids."""
    made = {
        "stratified": (task.kind, task.y),
        "group": (task.group,),
        "spatial": (task.lat, task.lon),
        "column": (task.split,),
    }
    return made.get(split, ())


def fold_notes(task: AlignedTask, folds: Folds) -> list[Note]:
    """Notes on folds of unequal size, on what the buffer dropped, and on rows that are scored by
    a fold that trains on a near one; for the first seed."""
    notes = []
    sizes, dropped = folds.sizes[0], folds.dropped[0]
    if np.abs(sizes - sizes.mean()).max() > max(1, UNEVEN * sizes.mean()):
        notes.append(Note(task.name, TASK_TABLE, _LARGEST, int(sizes.max()), ""))
    if dropped.any():
        notes.append(Note(task.name, TASK_TABLE, _MOST_DROPPED, int(dropped.max()), ""))
    if task.lat is not None:
        near = _near_in_training(task, folds)
        notes += note_rows(task.name, TASK_TABLE, NEAR_IN_TRAINING, near, task.ids)
    return notes


def constant_notes(task: AlignedTask, folds: Folds) -> list[Note]:
    """Notes on columns that are constant in rows that a fold trains on, though not in all rows;
    for the first seed."""
    notes, every = [], np.arange(folds.rows)
    for name, matrix in task.embeddings.items():
        found = [constant_columns(matrix, _training(folds, k)) for k in range(folds.count)]
        columns = np.setdiff1d(np.concatenate(found), constant_columns(matrix, every))
        if len(columns):
            first = task.columns[name][columns[0]]
            notes.append(Note(task.name, name, CONSTANT_IN_FOLD, len(columns), first))
    return notes


def _near_in_training(task: AlignedTask, folds: Folds) -> np.ndarray:
    """(n,) whether the fold that scores a row trains on one nearer than NEAR_KM."""
    near = near_neighbours(task.lat, task.lon)
    places = sphere.unit_vectors(task.lat, task.lon)
    found = np.zeros(folds.rows, bool)
    for k, size in enumerate(folds.sizes[0]):
        tested, training = folds.tested[0, k, :size], _training(folds, k)
        tested, training = tested[near[tested]], training[near[training]]
        if len(training):
            found[tested] = sphere.within(places[tested], places[training], NEAR_KM)
    return found


def _training(folds: Folds, k: int) -> np.ndarray:
    """The rows that a fold of the first seed trains on."""
    training = np.ones(folds.rows + 1, bool)  # the last is what pads held_out
    training[folds.held_out[0, k]] = False
    return np.flatnonzero(training[:-1])


def check_column(task: AlignedTask) -> None:
    """Raises an InputError if the task has a column of folds that cannot be used."""
    if task.split is not None:
        _column(task, Settings(split="column"))


def _stratified(task: AlignedTask, settings: Settings) -> Dealing:
    if task.kind == "regression":
        raise UsageError(
            f"split=stratified: task {quote(task.name)} is a regression, which has no classes to "
            "keep in proportion; use --split=random, or leave that task out"
        )
    check_rows(task, settings.folds)
    k = settings.folds
    _check_members(task, k)
    return Dealing(k, lambda seed: stratified_folds(task.ids, task.y, k, seed))


def _check_members(task: AlignedTask, k: int) -> None:
    few = few_members(task, k)
    if not len(few):
        return
    members = np.bincount(task.y, minlength=len(task.classes))
    first, fewest = few[0], members[few].min()
    fewer = f"--folds={fewest} or fewer, " if fewest > 1 else ""
    raise InputError(
        f"{task.where}: target {quote(task.targets[0])} has {counted(len(few), 'class')} with "
        f"fewer members than --folds={k}, first {quote(task.classes[first])} with "
        f"{members[first]:,} at id {quote(task.ids[task.y == first][0])}, but --split=stratified "
        f"puts each class into every fold; use {fewer}another --split, or leave those rows out"
    )


def _hash(task: AlignedTask, settings: Settings) -> Dealing:
    check_rows(task, settings.folds)
    k = settings.folds
    return Dealing(k, lambda seed: hash_folds(task.ids, k, seed), steady=False)


def _group(task: AlignedTask, settings: Settings) -> Dealing:
    groups = texts_of(task, task.group, "--split=group", "group")
    count, k = len(set(groups.tolist())), settings.folds
    if count < 2:
        raise InputError(
            f"task {quote(task.name)}: all rows are of one group ({quote(groups[0])}), so that "
            "none is left to train on; name another column with group, or use another --split"
        )
    if not k:
        fold, names = one_each(groups)
        return Dealing(count, lambda seed: fold, names=names)
    if count < k:
        raise InputError(
            f"task {quote(task.name)}: {counted(count, 'group')} for --folds={k}; use "
            f"--folds={count} or fewer, or --folds=0 to leave out one group at a time"
        )
    check_rows(task, k)
    return Dealing(k, lambda seed: group_folds(groups, k, seed), steady=False)


def _spatial(task: AlignedTask, settings: Settings) -> Dealing:
    if task.lat is None or task.lon is None:
        raise InputError(
            f"task {quote(task.name)}: --split=spatial needs coordinates; name their columns with "
            "lat and lon (arrays: lat=… and lon=… of ecjax.Task)"
        )
    k = settings.folds
    check_rows(task, k)
    cells = sphere.equal_area_cells(task.lat, task.lon, settings.block_km)
    count = len(np.unique(cells))
    if count < k:
        way_out = f"use --folds={count} or fewer, or smaller blocks" if count > 1 else (
            "use smaller blocks"
        )  # fmt: skip
        raise InputError(
            f"task {quote(task.name)}: its rows lie in {counted(count, 'block')} of "
            f"--block_km={settings.block_km:g}, too few for --folds={k}; {way_out}"
        )
    return Dealing(k, lambda seed: group_folds(cells, k, seed), steady=False)


def _column(task: AlignedTask, settings: Settings) -> Dealing:
    values = texts_of(task, task.split, "--split=column", "split")
    names = set(values.tolist())
    reserved = {*TRAINING, TEST}
    if not names & reserved:
        if len(names) < 2:
            raise InputError(
                f"task {quote(task.name)}: split holds {quote(values[0])} in every row, so that "
                'none is left to train on; mark the rows "train" and "test", or give each fold a '
                "value of its own"
            )
        fold, known = one_each(values)
        return Dealing(len(names), lambda seed: fold, names=known)
    others = sorted(names - reserved)
    if others:
        raise InputError(
            f"task {quote(task.name)}: split holds {listing(sorted(names & reserved))} beside "
            f"{listing(others)}, which could be folds of their own or not; mark every row "
            '"train" (or "trainval") or "test", or give each fold a value of its own'
        )
    if TEST not in names or len(names) < 2:
        lacking = '"test"' if TEST not in names else '"train" or "trainval"'
        raise InputError(
            f"task {quote(task.name)}: split holds only {listing(sorted(names))}, and no row "
            f"{lacking}; mark some rows so"
        )
    fold = np.where(values == TEST, 0, NOWHERE)
    return Dealing(1, lambda seed: fold, names=(TEST,))


_DEALINGS = {
    "stratified": _stratified,
    "group": _group,
    "spatial": _spatial,
    "hash": _hash,
    "column": _column,
}


def texts_of(task: AlignedTask, given: np.ndarray | None, flag: str, key: str) -> np.ndarray:
    """(n,) texts of a column that a flag needs in every row; InputError where there are none."""
    if given is None:
        raise InputError(
            f'task {quote(task.name)}: {flag} needs a column; name it with {key} = "…" '
            f"in the study file (arrays: {key}=… of ecjax.Task)"
        )
    null = pd.isna(given)
    null[~null] = given[~null] == ""
    if null.any():
        raise InputError(
            f"task {quote(task.name)}: {key} is null in {counted(int(null.sum()), 'row')}, first "
            f"at id {quote(task.ids[int(null.argmax())])}; fill them, or remove those rows"
        )
    return np.array([str(value) for value in given.tolist()], object)


def check_none_empty(task: AlignedTask, counts: Sequence[np.ndarray], settings: Settings) -> None:
    """Raises an InputError if a fold has none of the rows; counts (k,) of each seed's folds."""
    for seed, of_folds in zip(settings.seed_list(), counts, strict=True):
        empty = np.flatnonzero(of_folds == 0)
        if len(empty):
            raise InputError(
                f"task {quote(task.name)}: --split={settings.split} deals none of "
                f"{counted(len(task.ids), 'row')} to fold {empty[0]} of {len(of_folds)} with seed "
                f"{seed}; use fewer --folds, or another --seed"
            )


def _buffer(
    task: AlignedTask, folds: int, fold_of_row: np.ndarray, km: float
) -> list[list[np.ndarray]]:
    """The rows of other folds within a distance of each fold's rows, for each seed and fold."""
    places = sphere.unit_vectors(task.lat, task.lon)

    def near(own: np.ndarray) -> np.ndarray:
        others = np.flatnonzero(~own)
        return others[sphere.within(places[others], places[own], km)]

    return [[near(fold == k) for k in range(folds)] for fold in fold_of_row]
