"""Cells side by side on the devices of one host: calls of `engine.study`, one on each device.

All devices run one compiled program and no sum crosses them: each computes its cell as it would
alone, bit for bit. To that end the cells' arrays lie one behind the other along their first axis,
so that a device's part of each has the very shape that `engine.study` is given for one cell. With
an axis of cells in front, XLA fuses other operations, and numbers change in their last bit.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ecjax import blas, engine
from ecjax.program import Penalties, Program, SampleData
from ecjax.sums import SampleSums

CELLS = PartitionSpec("cell")


class Job(NamedTuple):
    """The arguments of one call of `engine.study`."""

    programs: tuple[Program, ...]
    samples: tuple[SampleData, ...]
    penalties: Penalties


class Batch(NamedTuple):
    """Jobs that run at once.

    Attributes:
      jobs: their positions.
      width: how many devices they take, no fewer than jobs. All batches of a program have the same
        width, so that it is compiled once.
    """

    jobs: tuple[int, ...]
    width: int


def like(device: jax.Device) -> list[jax.Device]:
    """All devices of this process that are of the same kind, the given one first."""
    found = jax.local_devices(backend=device.platform)
    others = [d for d in found if d != device and d.device_kind == device.device_kind]
    return [device, *others]


def at_once(devices: Sequence[jax.Device], cell_bytes: float, budget: float) -> int:
    """How many devices can compute a cell of so many bytes at the same time.

    Args:
      cell_bytes: of the largest cell.
      budget: bytes of one device's memory. Devices of the platform "cpu" share that of the host;
        one cell is computed whether it fits or not, as the plan has seen to that.
    """
    if devices[0].platform != "cpu":
        return len(devices)
    return max(1, min(len(devices), int(budget // cell_bytes)))


def batches(jobs: Iterable[Job], most: int) -> list[Batch]:
    """Which jobs run at once: those of equal programs, shapes and dtypes, up to so many.

    Groups stand in the order of their first jobs, jobs in their own. A group is spread evenly: nine
    jobs on eight devices are five and four, which take as long as eight and one and less memory.

    Args:
      jobs: read once and not kept.
    """
    groups: dict[Hashable, list[int]] = {}
    for position, job in enumerate(jobs):
        groups.setdefault(_program_key(job), []).append(position)
    found = []
    for group in groups.values():
        rounds = -(-len(group) // most)
        width = -(-len(group) // rounds)
        starts = range(0, len(group), width)
        found += [Batch(tuple(group[i : i + width]), width) for i in starts]
    return found


def _program_key(job: Job) -> Hashable:
    """Equal for jobs that one compiled program computes."""
    leaves, structure = jax.tree.flatten((job.samples, job.penalties))
    return job.programs, structure, tuple((a.shape, a.dtype) for a in leaves)


def study(jobs: Sequence[Job], devices: Sequence[jax.Device]) -> list[tuple[SampleSums, ...]]:
    """Computes the jobs of a batch, each on a device of its own.

    Args:
      jobs: of one batch, at least one.
      devices: as many as the batch is wide. Those left over repeat the last job, whose result is
        dropped. One device makes the plain call of `engine.study`.

    Returns:
      The sums of each job, as NumPy arrays.
    """
    with blas.one_thread(), jax.enable_x64(True), jax.default_device(devices[0]):
        if len(devices) == 1:
            (job,) = jobs
            return [jax.device_get(engine.study(*job))]
        mesh = Mesh(np.array(devices), ("cell",), axis_types=(AxisType.Auto,))
        padded = [*jobs, *[jobs[-1]] * (len(devices) - len(jobs))]
        data = [(job.samples, job.penalties) for job in padded]
        given = jax.tree.map(functools.partial(_laid_out, mesh), *data)
        found = _side_by_side(mesh, jobs[0].programs, *given)
        taken = devices[: len(jobs)]
        return jax.device_get([jax.tree.map(lambda a, d=d: _part(a, d), found) for d in taken])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _side_by_side(mesh: Mesh, programs: tuple[Program, ...], samples, penalties):
    """`engine.study` on each device of the mesh, of its part of every array."""

    def cell(samples: tuple[SampleData, ...], penalties: Penalties):
        return engine.study(programs, samples, Penalties(*(a.reshape(()) for a in penalties)))

    # Without check_vma=False, JAX asks of every primitive, those of `host_call` among them, how it
    # treats values that differ between devices.
    run = jax.shard_map(cell, mesh=mesh, in_specs=CELLS, out_specs=CELLS, check_vma=False)
    return run(samples, penalties)


def _laid_out(mesh: Mesh, *cells: np.ndarray) -> Array:
    """The cells' arrays along their first axis, each on its device; numbers () as if (1,)."""
    cells = [np.atleast_1d(cell) for cell in cells]
    rows, *others = cells[0].shape
    parts = [jax.device_put(*pair) for pair in zip(cells, mesh.devices.flat, strict=True)]
    shape = (len(cells) * rows, *others)
    return jax.make_array_from_single_device_arrays(shape, NamedSharding(mesh, CELLS), parts)


def _part(array: Array, device: jax.Device) -> Array:
    """What lies on a device."""
    (part,) = (shard.data for shard in array.addressable_shards if shard.device == device)
    return part
