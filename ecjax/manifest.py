"""What is kept of a run beside its numbers: the study's fingerprint, and the manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ecjax import maps
from ecjax.align import AlignedTask
from ecjax.notes import Note
from ecjax.outcome import TaskResult
from ecjax.question import Answer
from ecjax.settings import Settings
from ecjax.splits import made_from

PACKAGES = ("ecjax", "jax", "jaxlib", "numpy", "scipy", "pandas", "pyarrow")


def fingerprint_of(
    tasks: Sequence[AlignedTask],
    settings: Settings,
    swept: Mapping[str, Sequence],
    precision: str,
) -> dict[str, Any]:
    """What makes this study this one; results of another may not share its directory."""
    return {
        "tasks": [task.name for task in tasks],
        "embeddings": {task.name: list(task.embeddings) for task in tasks},
        "rows": {task.name: hash_rows(task) for task in tasks},
        "protocol": settings.protocol,
        "split": settings.split,
        "folds": list(swept.get("folds", [settings.folds])),
        "penalty": settings.penalty,
        "precision": precision,
        **({"probe": _arguments(settings)["probe"]} if settings.probe else {}),
        **_split(tasks, settings),
        **_built_in(tasks),
        **_transforms(tasks),
    }


@dataclasses.dataclass(frozen=True)
class Facts:
    """Of a run, what its manifest says that neither tasks nor settings know.

    Attributes:
      name: of the study.
      device: that it ran on.
      precision: "float64" or "float32".
      fingerprint: of the study; None where no directory was written.
      swept: keys of the study's sweep.
      notes: what was noticed.
      timings: seconds of each part.
      answered: task → which question its intervals answer; none where there are none.
    """

    name: str
    device: jax.Device
    precision: str
    fingerprint: Mapping[str, Any] | None
    swept: Sequence[str]
    notes: Sequence[Note]
    timings: Mapping[str, float]
    answered: Mapping[str, Answer]


def manifest_of(
    tasks: Sequence[AlignedTask],
    settings: Settings,
    results: Sequence[TaskResult],
    facts: Facts,
) -> dict[str, Any]:
    """What `manifest.json` says of a run."""
    return {
        "name": facts.name,
        "protocol": settings.protocol,
        **made_by(),
        "device": device_text(facts.device),
        "precision": facts.precision,
        "study": dict(facts.fingerprint or {}),
        "arguments": _arguments(settings),
        "swept": list(facts.swept),
        "notes": [dataclasses.asdict(note) for note in facts.notes],
        "tasks": {task.name: _task(task, settings, results, facts.answered) for task in tasks},
        "embeddings": {k: x.shape[1] for task in tasks for k, x in task.embeddings.items()},
        **_built_in(tasks),
        "timings": {key: round(value, 3) for key, value in facts.timings.items()},
    }


def made_by() -> dict[str, Any]:
    """When a run was made, and by which code."""
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {**_versions(), "python": platform.python_version()},
        "git_commit": _git_commit(),
    }


def _task(
    task: AlignedTask,
    settings: Settings,
    results: Sequence[TaskResult],
    answered: Mapping[str, Answer],
) -> dict[str, Any]:
    own = [result for result in results if result.task is task]
    units = own[-1].units
    return {
        "kind": task.kind,
        "rows": len(task.ids),
        "targets": list(task.targets),
        "classes": list(task.classes),
        "transform": task.transform,
        "unit": units.kind,
        "units": units.count,
        "map_km": maps.side_of(task, settings),
        "targets_hash": hash_targets(task),
        "vectors_hash": hash_vectors(task),
        "folds_hash": {folds_key(r.folds.count, r.seeds[0]): hash_folds(r) for r in own},
        **(answered[task.name].in_manifest() if task.name in answered else {}),
    }


def _arguments(settings: Settings) -> dict[str, Any]:
    """Of `evaluate`; a probe by its name."""
    probe = settings.probe
    named = dataclasses.asdict(dataclasses.replace(settings, probe=None))
    return named | {"probe": probe and getattr(probe, "__qualname__", repr(probe))}


def _transforms(tasks: Sequence[AlignedTask]) -> dict[str, Any]:
    changed = {task.name: task.transform for task in tasks if task.transform != "none"}
    return {"transforms": changed} if changed else {}


def _built_in(tasks: Sequence[AlignedTask]) -> dict[str, Any]:
    """What is made from the coordinates, and how; nothing where nothing is."""
    made = {
        task.name: {name: dataclasses.asdict(of) for name, of in task.built_in.items()}
        for task in tasks
    }
    return {"coordinates": made} if any(made.values()) else {}


def _split(tasks: Sequence[AlignedTask], settings: Settings) -> dict[str, Any]:
    """What the folds are made from beside rows and seeds."""
    split = settings.split
    if split == "random":
        return {}
    found = {"split_of": {task.name: hash_split(task, split) for task in tasks}}
    if split == "spatial":
        found |= {"block_km": settings.block_km, "buffer_km": settings.buffer_km}
    return found


def device_text(device: jax.Device) -> str:
    """ "cpu" or "gpu (NVIDIA …)"."""
    kind = device.device_kind
    return device.platform if kind == device.platform else f"{device.platform} ({kind})"


def hash_split(task: AlignedTask, split: str) -> str:
    """Fingerprint of what a split of the task's rows is made from; of "spatial": its places."""
    return hashlib.sha256(repr(made_from(task, split)).encode()).hexdigest()


def hash_rows(task: AlignedTask) -> str:
    """Fingerprint of everything that a task's numbers are made from."""
    digest = hashlib.sha256()
    for part in (task.kind, *task.targets, *task.classes, *map(str, task.ids.tolist())):
        digest.update(part.encode() + b"\0")
    digest.update(np.ascontiguousarray(task.y))
    for name, x in task.embeddings.items():
        digest.update(f"{name} {x.dtype} {x.shape}".encode())
        digest.update(x)
    return digest.hexdigest()


def hash_targets(task: AlignedTask) -> str:
    """Fingerprint of a task's ids and targets alone, whatever the rows' order and embeddings."""
    digest = hashlib.sha256()
    order = _by_text(task.ids)
    for part in (task.kind, *task.targets, *task.classes, *map(str, task.ids[order].tolist())):
        digest.update(part.encode() + b"\0")
    digest.update(np.ascontiguousarray(task.y[order]))
    return digest.hexdigest()


def hash_vectors(task: AlignedTask) -> str:
    """Fingerprint of a task's ids and vectors alone, whatever the rows' order."""
    digest = hashlib.sha256()
    order = _by_text(task.ids)
    for part in map(str, task.ids[order].tolist()):
        digest.update(part.encode() + b"\0")
    for name, x in task.embeddings.items():
        digest.update(f"{name} {x.dtype} {x.shape}".encode())
        digest.update(np.ascontiguousarray(x[order]))
    return digest.hexdigest()


def hash_folds(result: TaskResult) -> str:
    """Fingerprint of which fold of the first seed scores which id."""
    order = _by_text(result.task.ids)
    digest = hashlib.sha256("\0".join(map(str, result.task.ids[order].tolist())).encode())
    digest.update(np.ascontiguousarray(result.fold_of_row[0][order]))
    return digest.hexdigest()


def folds_key(folds: int, seed: int) -> str:
    """Under which a manifest has the fingerprint of some folds."""
    return f"{folds} folds, seed {seed}"


def _by_text(ids: np.ndarray) -> np.ndarray:
    """The order of ids as texts: numbers in one table may be texts in another."""
    return np.argsort(ids.astype(str), kind="stable")


@functools.cache
def _versions() -> dict[str, str]:
    """Of the packages that numbers depend on, where installed."""
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


@functools.cache
def _git_commit() -> str | None:
    """Commit of the checkout that this package runs from, if it is one."""
    folder = Path(__file__).parent
    if not (folder.parent / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
