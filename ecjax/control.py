"""The control `permuted`: what mere width does to an index.

Every fused set is evaluated again with the rows of all its members but the best single permuted
together, so that they keep their columns' distribution and lose what they know of the places. Its
index, `eci_permuted`, is what a set of these sizes gains or loses without any information; under
`strict` the best single is that of each fold. There is one permutation for each seed.

Axes: n rows, r seeds, s subsets, k folds, i fused sets, c parts of a loss.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np

from ecjax.align import AlignedTask
from ecjax.compared import Measure
from ecjax.complementarity import complementarity_index
from ecjax.compute import Runner
from ecjax.outcome import TaskResult
from ecjax.scores import mean_share
from ecjax.settings import Settings
from ecjax.subsets import name as subset_name


def with_control(
    results: Sequence[TaskResult], settings: Settings, runner: Runner
) -> list[TaskResult]:
    """The results of one setting with `permuted`, their indices under the control."""
    wanted, requests = [], []
    for names in dict.fromkeys(tuple(result.task.embeddings) for result in results):
        own = [result for result in results if tuple(result.task.embeddings) == names]
        for kept in range(len(names)):
            sets = sorted({subset for result in own for subset in _sets_with(result, kept)})
            subsets = tuple(subset_name(subset, names) for subset in sets)
            for seed in settings.seed_list() if subsets else ():
                one = dataclasses.replace(settings, seed=seed, seeds=1, subsets=subsets)
                tasks = [result.task for result in own]
                wanted.append((kept, seed))
                requests.append(functools.partial(_request, tasks, names[kept], one))
    again: dict[tuple, TaskResult] = {}
    for key, permuted in zip(wanted, runner.each(requests), strict=True):
        again |= {(result.task.name, *key): result for result in permuted}
    found = []
    for result in results:
        numbers = range(len(result.all_measures))
        indices = tuple(_index(result, number, again) for number in numbers)
        found.append(dataclasses.replace(result, permuted=indices))
    return found


def _request(
    tasks: Sequence[AlignedTask], kept: str, settings: Settings
) -> tuple[list[AlignedTask], Settings]:
    """What is evaluated for one seed and one model that is kept."""
    return permuted_tasks(tasks, kept, settings.seed), settings


def permuted_tasks(tasks: Iterable[AlignedTask], kept: str, seed: int) -> list[AlignedTask]:
    """The tasks with the rows of every embedding but one permuted; shared arrays stay shared."""
    known: dict[int, dict[str, np.ndarray]] = {}
    found = []
    for task in tasks:
        if task.sample not in known:
            order = np.random.default_rng([seed, 6]).permutation(len(task.ids))
            known[task.sample] = {
                name: x if name == kept else x[order] for name, x in task.embeddings.items()
            }
        found.append(dataclasses.replace(task, embeddings=known[task.sample]))
    return found


def _sets_with(result: TaskResult, kept: int) -> set[tuple[int, ...]]:
    """Fused sets of which this model is the best single of some fold by some metric."""
    single = result.subsets.index((kept,)) if (kept,) in result.subsets else None
    chosen = [(_singles(result, m) == single).any((1, 2)) for m in result.all_measures]
    marked = np.any(chosen, axis=0) if chosen else ()
    return {result.subsets[i] for i, yes in zip(result.fused, marked, strict=True) if yes}


def _singles(result: TaskResult, measure: Measure) -> np.ndarray:
    """(i, r, k) the best single of each fused set and fold, −1 where undefined."""
    if measure.index.by_fold is not None:
        return measure.index.by_fold
    r, _, k = measure.scores.fold.shape
    best = []
    for members in result.members(result.fused):
        loss = measure.scores.loss[members]
        best.append(-1 if np.isnan(loss).any() else members[int(loss.argmin())])
    return np.broadcast_to(np.array(best, int).reshape(-1, 1, 1), (len(best), r, k))


def _index(result: TaskResult, number: int, again: dict[tuple, TaskResult]) -> np.ndarray:
    """(i,) indices of a measure under the control; NaN where undefined."""
    measure = result.all_measures[number]
    lost, among = measure.scores.lost, measure.scores.among
    found = np.full(len(result.fused), np.nan)
    for j, (i, singles) in enumerate(zip(result.fused, _singles(result, measure), strict=True)):
        if (singles < 0).any():
            continue
        losses, best = np.empty_like(lost[:, i]), np.empty_like(lost[:, i])
        for r, k in np.ndindex(singles.shape):
            (kept,) = result.subsets[singles[r, k]]
            other = again[result.task.name, kept, result.seeds[r]]
            place = other.subsets.index(result.subsets[i])
            losses[r, k] = other.all_measures[number].scores.lost[0, place, k]
            best[r, k] = lost[r, singles[r, k], k]
        whole = among.sum(1)
        pair = (mean_share(own.sum(1), whole).mean() for own in (losses, best))
        found[j] = complementarity_index(*pair, 0.0)
    return found
