"""Cells on the devices of one host: calls of `engine.study`, each on the first device that is free.

A device runs the very program that it would run alone, and no sum crosses devices: results have the
bits of one device's, whatever their number. One program over all devices (`jax.shard_map`) would
compile once instead of once for each device, but not to the same operations: XLA rewrites what it
divides, and from two devices on numbers differ in their last bits.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax

from ecjax import blas, engine
from ecjax.errors import UsageError
from ecjax.program import Penalties, Program, SampleData
from ecjax.sums import SampleSums

WITH_DEVICE = {"gpu": "jax[cuda12]", "tpu": "jax[tpu]"}  # what to install for a platform


class Job(NamedTuple):
    """The arguments of one call of `engine.study`."""

    programs: tuple[Program, ...]
    samples: tuple[SampleData, ...]
    penalties: Penalties


def find_device(required: str) -> jax.Device:
    """The device to run on; UsageError if JAX has none of the required platform."""
    if required in ("", "any"):
        return jax.local_devices()[0]
    try:
        return jax.local_devices(backend=required)[0]
    except RuntimeError as error:
        way_out = f"install {WITH_DEVICE[required]}, or " if required in WITH_DEVICE else ""
        raise UsageError(
            f"require_platform={required}: JAX finds no such device here, only "
            f"{jax.default_backend()}; {way_out}leave require_platform out"
        ) from error


def like(device: jax.Device) -> list[jax.Device]:
    """All devices of this process that are of the same kind, the given one first."""
    found = jax.local_devices(backend=device.platform)
    others = [d for d in found if d != device and d.device_kind == device.device_kind]
    return [device, *others]


def at_once(devices: Sequence[jax.Device], cell_bytes: float, budget: float) -> int:
    """How many of the devices can compute cells of so many bytes at the same time.

    Args:
      cell_bytes: of the largest cell.
      budget: bytes of one device's memory. Devices of the platform "cpu" share that of the host;
        there one cell is computed at any rate, as the plan has made it fit.
    """
    if devices[0].platform != "cpu":
        return len(devices)
    return max(1, min(len(devices), int(budget // cell_bytes)))


def study(
    jobs: Iterable[Job], devices: Sequence[jax.Device]
) -> Iterator[tuple[int, tuple[SampleSums, ...]]]:
    """Computes jobs, as many at a time as there are devices.

    Jobs that follow each other should be of one program, which every device compiles that meets it.

    Args:
      jobs: taken one at a time, when a device is free. When there are no more, those that run are
        finished: so a run is stopped by ending them.
      devices: of one kind.

    Yields:
      The position of a job and its sums as NumPy arrays, in the order in which they are finished.

    Raises:
      What a job raised first, after those that ran beside it are finished and yielded.
    """
    if len(devices) == 1:  # in the caller's thread
        for position, job in enumerate(jobs):
            yield position, _call(job, devices[0])
        return
    free, waiting, failure = list(reversed(devices)), enumerate(jobs), None
    ended: queue.SimpleQueue[tuple[int, jax.Device, Any]] = queue.SimpleQueue()
    compiled: dict[Hashable, threading.Event] = {}

    def run(position: int, job: Job, device: jax.Device, *turn) -> None:
        ended.put((position, device, _outcome(job, device, *turn)))

    while True:
        while free and failure is None and (taken := next(waiting, None)) is not None:
            key = _program_key(taken[1])
            first = key not in compiled
            turn = free.pop(), compiled.setdefault(key, threading.Event()), first
            # A daemon, for which ^C does not wait.
            threading.Thread(target=run, args=(*taken, *turn), daemon=True).start()
        if len(free) == len(devices):
            break
        position, device, outcome = ended.get()
        free.append(device)
        if isinstance(outcome, BaseException):
            failure = failure or outcome
        else:
            yield position, outcome
    if failure is not None:
        raise failure


def _outcome(job: Job, device: jax.Device, compiled: threading.Event, first: bool):
    """What `_call` returns, or raises.

    A program is compiled for one device before it is for the others. A GPU's compiler tries which
    kernels are fastest and takes those that it found for the first device for the next ones too;
    if it tried them for several at once, each might find others, which round differently.
    """
    if not first:
        compiled.wait()
    try:
        return _call(job, device, compiled.set)
    except BaseException as error:  # raised again in the caller's thread
        return error
    finally:
        compiled.set()


def _call(job: Job, device: jax.Device, on_compiled: Callable[[], None] = lambda: None):
    """`engine.study` on a device, as NumPy arrays."""
    with blas.one_thread(), jax.enable_x64(True), jax.default_device(device):
        found = engine.study(*job)
        on_compiled()
        return jax.device_get(found)


def _program_key(job: Job) -> Hashable:
    """Equal for jobs that one compiled program computes."""
    leaves, structure = jax.tree.flatten((job.samples, job.penalties))
    return job.programs, structure, tuple((a.shape, a.dtype) for a in leaves)
