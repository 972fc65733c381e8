"""Keys of cells, from the contents that a plan's calls are given and every setting behind them.

Paths, times, places of computing and the size of calls are not in them: they change no number by
more than rounding.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import uuid
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from ecjax import subsets
from ecjax.cells import Key
from ecjax.engine_version import engine_digest
from ecjax.pieces import Piece
from ecjax.plan import Plan

# Settings that a cell's numbers do not depend on, because its key has them in another form (seeds,
# their folds, subsets), because they are of what is made from cells, or of the machine. Whatever
# is not named here is in the key.
IN_KEYS = ("folds", "seeds", "seed", "subsets", "max_subset_size", "precision", "probe")
OF_TABLES = ("interval", "bootstraps", "bootstrap_choices", "bootstrap_unit", "confidence",
             "map_by", "map_km", "control", "predictions")  # fmt: skip
OF_MACHINES = ("stream", "passes", "max_memory_gib", "require_platform", "profile", "shard",
               "coordinator", "num_processes", "process_id")  # fmt: skip
OTHER_KIND = {  # penalties of the one kind of task are nothing to the other
    "regression": ("logistic_c", "logistic_tolerance"),
    "classification": ("ridge_lambda", "penalty"),
}
RUN = uuid.uuid4().hex  # what a function computes cannot be told from outside: it is of this run


class Hashes:
    """SHA-256 of arrays, of each once."""

    def __init__(self):
        self._known: dict[int, tuple[weakref.ref, str]] = {}

    def of(self, array: np.ndarray) -> str:
        """Of dtype, shape and content; of texts, their content."""
        known = self._known.get(id(array))
        if known is None or known[0]() is not array:  # another had this id, and is gone
            known = self._known[id(array)] = weakref.ref(array), _hash(array)
        return known[1]


def _hash(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype} {array.shape}\0".encode())
    if array.dtype == object:
        digest.update("\0".join(map(str, array.tolist())).encode())
    else:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def fingerprint(content: Any) -> str:
    """Of what JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def keys_of(plan: Plan, hashes: Hashes) -> dict[tuple[int, int], Key]:
    """Of each sample and group of tasks, all seeds and subsets: what their numbers depend on."""
    found = {}
    for i, sample in enumerate(plan.samples):
        names = tuple(subsets.name(subset, sample.names) for subset in plan.subsets[i])
        for g, tasks in enumerate(sample.groups):
            base = fingerprint(
                {
                    "engine": engine_digest(),
                    "precision": plan.precision,
                    "probe": RUN if plan.settings.probe else None,
                    "settings": _settings(plan, tasks[0].kind),
                    "ids": hashes.of(tasks[0].ids),
                    "embeddings": [[k, hashes.of(x)] for k, x in tasks[0].embeddings.items()],
                    "tasks": [
                        [t.name, t.kind, t.targets, t.classes, t.transform, hashes.of(t.y)]
                        for t in tasks
                    ],
                }
            )
            found[i, g] = Key(base, _seeds(plan, i, tasks[0].kind), names)
    return found


def part_of(key: Key, plan: Plan, piece: Piece) -> Key:
    """The key with the seeds and subsets of a piece alone."""
    place = {subset: i for i, subset in enumerate(plan.subsets[piece.sample])}
    return Key(
        key.base,
        tuple(key.seeds[i] for i in piece.seeds),
        tuple(key.subsets[place[subset]] for subset in piece.subsets),
    )


def _settings(plan: Plan, kind: str) -> dict[str, Any]:
    without = {*IN_KEYS, *OF_TABLES, *OF_MACHINES, *OTHER_KIND[kind]}
    fields = (field.name for field in dataclasses.fields(plan.settings))
    return {name: getattr(plan.settings, name) for name in fields if name not in without}


def _seeds(plan: Plan, i: int, kind: str) -> tuple[str, ...]:
    """Of each seed: its number, which rows each fold leaves out and scores, and the grids."""
    folds, choices = plan.folds[i], plan.choices[i].get(kind)
    found = []
    for r, seed in enumerate(plan.settings.seed_list()):
        digest = hashlib.sha256(f"{seed} {folds.rows} {folds.divided}".encode())
        digest.update(np.ascontiguousarray(folds.sizes[r]))
        for rows in folds.held_out[r]:
            digest.update(rows[rows < folds.rows])
            digest.update(b";")
        if choices is not None:
            digest.update(np.ascontiguousarray(choices.grid[r]))
        found.append(digest.hexdigest()[:16])
    return tuple(found)


def unit_key(
    function: str, static: Iterable[Any], arrays: Iterable[np.ndarray], hashes: Hashes
) -> str:
    """Of one computation: its name, what else it goes by, and the arrays that it is given."""
    given = [hashes.of(array) for array in arrays]
    return fingerprint([engine_digest(), function, [repr(value) for value in static], given])
