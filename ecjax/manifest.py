"""What is kept of a run beside its numbers: the study's fingerprint, and the manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from ecjax import fingerprints, maps
from ecjax.align import AlignedTask
from ecjax.cell_keys import OF_MACHINES
from ecjax.notes import Note
from ecjax.outcome import TaskResult
from ecjax.question import Answer
from ecjax.settings import Settings

ORDERLESS = ("hash", "column")  # splits to which the order of rows is nothing
PACKAGES = ("ecjax", "jax", "jaxlib", "numpy", "scipy", "pandas", "pyarrow")


def fingerprint_of(
    tasks: Sequence[AlignedTask],
    settings: Settings,
    swept: Mapping[str, Sequence],
    precision: str,
    digests: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """What makes this study this one; results of another may not share its directory.

    Args:
      digests: task → `fingerprints.of_rows`, and of its "split".
    """
    return {
        "tasks": [task.name for task in tasks],
        "embeddings": {task.name: list(task.embeddings) for task in tasks},
        "rows": {name: own["rows"] for name, own in digests.items()},
        "protocol": settings.protocol,
        "split": settings.split,
        "folds": list(swept.get("folds", [settings.folds])),
        "penalty": settings.penalty,
        "precision": precision,
        **({"probe": _arguments(settings)["probe"]} if settings.probe else {}),
        **_split(tasks, settings, digests),
        **_built_in(tasks),
        **_transforms(tasks),
    }


def flags_of(settings: Settings) -> str:
    """The flags that processes of one run must agree on, all but the machine's, as text."""
    of_machine = set(OF_MACHINES) - {"stream", "passes"}
    given, usual = _arguments(settings), _arguments(Settings())
    others = [k for k in given if k not in of_machine and given[k] != usual[k]]
    return "".join(f" {name}={given[name]}" for name in sorted(others)) or " none"


@dataclasses.dataclass(frozen=True)
class Facts:
    """Of a run, what its manifest says that neither tasks nor settings know.

    Attributes:
      name: of the study.
      device: that it ran on.
      precision: "float64" or "float32".
      fingerprint: of the study; None where no directory was written.
      digests: as `fingerprint_of` takes them.
      swept: keys of the study's sweep.
      notes: what was noticed.
      timings: seconds of each part.
      answered: task → which question its intervals answer; none where there are none.
    """

    name: str
    device: jax.Device
    precision: str
    fingerprint: Mapping[str, Any] | None
    digests: Mapping[str, Mapping[str, str]]
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
        "tasks": {task.name: _task(task, settings, results, facts) for task in tasks},
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
    facts: Facts,
) -> dict[str, Any]:
    own = [result for result in results if result.task.name == task.name]
    answered, digests = facts.answered, facts.digests[task.name]
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
        "targets_hash": digests["targets"],
        "vectors_hash": digests["vectors"],
        "folds_hash": {
            fingerprints.folds_key(r.folds.count, r.seeds[0]): r.folds_fingerprint for r in own
        },
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


def _split(
    tasks: Sequence[AlignedTask], settings: Settings, digests: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """What the folds are made from beside rows and seeds."""
    split = settings.split
    found: dict[str, Any] = {}
    if not settings.strict and split not in ORDERLESS:  # `strict` has the rows in the ids' order
        found |= {"order": {task.name: fingerprints.in_order(task.ids) for task in tasks}}
    if split == "random":
        return found
    found |= {"split_of": {name: own["split"] for name, own in digests.items()}}
    if split == "spatial":
        found |= {"block_km": settings.block_km, "buffer_km": settings.buffer_km}
    return found


def device_text(device: jax.Device) -> str:
    """ "cpu" or "gpu (NVIDIA …)"."""
    kind = device.device_kind
    return device.platform if kind == device.platform else f"{device.platform} ({kind})"


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
