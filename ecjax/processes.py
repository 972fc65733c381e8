"""Which processes share a run: found in a job, told by flags, or parts without communication.

`join` makes the processes known to each other, and `Shard` names one part of a run whose parts know
nothing of each other. Either way cells are divided by `share`, and each process computes on its own
devices, `jax.local_devices()`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ecjax import meetings
from ecjax.errors import UsageError, neutral, quote
from ecjax.peers import WAY_OUT, Alone, PeerLost, Peers, exit_code
from ecjax.settings import Settings

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard(Alone):
    """Part `index` of `count` of a run whose parts know nothing of each other (`--shard=i/N`).

    Parts count from 0, as job arrays and indexed jobs do by default.
    """

    index: int
    count: int

    def summed(self, arrays: Any) -> Any:
        raise UsageError("shard: rows cannot be divided without communication; see coordinator")


def parse_shard(text: str) -> Shard:
    """Returns the shard that "i/N" names.

    Raises:
        UsageError: it is not of that form, or i is not one of 0 to N − 1.
    """
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise UsageError(f"shard={quote(text)}: i/N is wanted, as 0/4, the first of four parts")
    index, count = int(index), int(count)
    if index >= count:
        raise UsageError(
            f"shard={index}/{count}: parts count from 0, so of {count} they are 0 to {count - 1}; "
            "an array that counts from 1 gives i - 1"
            if count
            else f"shard={index}/0: there must be a part"
        )
    return Shard(index, count)


def of(settings: Settings) -> Alone:
    """The processes that settings name, or a job has; raises as `join` and `parse_shard`."""
    told = settings.coordinator, settings.num_processes, settings.process_id
    if not settings.shard:
        return join(settings.coordinator or None, *told[1:])
    if told != ("", None, None):
        raise UsageError("shard: parts know nothing of each other; leave coordinator and the like")
    return parse_shard(settings.shard)


def share(items: Sequence[Item], processes: Alone) -> Sequence[Item]:
    """The items of this process: every count-th, because neighbours cost much the same."""
    return items[processes.index :: processes.count]


def join(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> Alone:
    """Returns the processes that share this run, once all are there; `Alone` if it is one.

    Call it before JAX computes anything. Without arguments the processes are those that JAX finds
    in a job of Slurm, Open MPI, Kubernetes (indexed) or Cloud TPU.

    Args:
        coordinator: "host:port" of process 0, as all reach it, and a port that is free there.
        num_processes: how many there are; 1: this one alone, whatever the job.
        process_id: which of them this is, from 0.

    Raises:
        PeerLost: one has not come within `meetings.JOIN_S`, or is gone again.
        UsageError: the arguments do not do, a pod of an indexed job finds no other, or JAX was used
            before.
    """
    given = {
        "coordinator": coordinator, "num_processes": num_processes, "process_id": process_id
    }  # fmt: skip
    if num_processes == 1 or (set(given.values()) == {None} and not _found(given)):
        return Alone()
    absent = [name for name, value in given.items() if value is None]
    if absent:
        raise UsageError(f"{' and '.join(absent)}: wanted where one of {', '.join(given)} is given")
    coordinator, count, index = given.values()
    if not 0 <= index < count:
        counted = f"of {count} they are 0 to {count - 1}" if count > 0 else "there must be one"
        raise UsageError(f"process_id={index}, num_processes={count}: {counted}")
    host, port = _address(coordinator)
    hub = None
    if index == 0:
        line, hub = _open_hub(host, port, count)
    else:
        line = _reach_hub(host, port, count)
    peers = Peers(index, count, line, hub)
    try:
        peers.start(host)
    except BaseException as error:
        peers.leave(exit_code(error))
        raise
    return peers


def _found(given: dict[str, Any]) -> bool:
    """Fills in what JAX finds out about a job of several processes; False if there is none."""
    environment = os.environ
    tasks = environment.get("SLURM_STEP_NUM_TASKS", environment.get("SLURM_NTASKS", "1"))
    likely = (
        tasks != "1"
        or environment.get("OMPI_COMM_WORLD_SIZE", "1") != "1"
        or "JOB_COMPLETION_INDEX" in environment  # Kubernetes
        or "TPU_ML_PLATFORM" in environment  # set when JAX is imported where there are TPUs
    )
    if not likely:  # a single process in a pod or an allocation must not look for others
        return False
    try:
        from jax._src.clusters import ClusterEnv

        found = ClusterEnv.auto_detect_unset_distributed_params(
            environment.get("JAX_COORDINATOR_ADDRESS"), None, None, None, None, int(meetings.JOIN_S)
        )
    except Exception as error:  # of many kinds: JAX asks the scheduler or the cloud
        raise UsageError(
            f"JAX does not find out which processes share this job ({neutral(error)}); give "
            f"{', '.join(given)}, or num_processes=1 to run alone"
        ) from error
    given.update(zip(given, found[:3], strict=True))
    if None not in given.values():
        return given["num_processes"] > 1
    if "JOB_COMPLETION_INDEX" in environment:
        pod = neutral(environment["JOB_COMPLETION_INDEX"])
        raise UsageError(
            f"this is pod {pod} of an indexed job, JAX does not find the others, and alone each "
            f"would compute everything; give shard={pod}/N, where there are N pods, "
            f"{', '.join(given)} to meet them, or num_processes=1 to run alone"
        )
    return False


def _address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise UsageError(f"coordinator={quote(coordinator)}: host:port is wanted")
    return host.strip("[]"), int(port)


def _open_hub(host: str, port: int, count: int) -> tuple[meetings.Line, meetings.Hub]:
    try:
        hub = meetings.Hub(host, port, count)
    except OSError as error:
        raise UsageError(
            f"coordinator={host}:{port}: process 0 cannot listen there ({error.strerror}); "
            "is another run using the port?"
        ) from error
    own, its = socket.socketpair()
    hub.adopt(its)
    hub.start()
    return meetings.Line(own), hub


def _reach_hub(host: str, port: int, count: int) -> meetings.Line:
    try:
        return meetings.connect(host, port)
    except OSError as error:
        raise PeerLost(
            f"process 0 of {count} has not come to {quote(f'{host}:{port}')} within "
            f"{meetings.JOIN_S:.0f} s ({error}); {WAY_OUT}"
        ) from error
