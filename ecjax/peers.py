"""The processes that share one run: how they meet, add up, and end if one of them is lost.

A process that loses a peer raises `PeerLost` at its next `check` or meeting. Where it does not come
to that, being in a long computation or in one that needs the lost peer, a thread ends it with exit
code 75: within `FINISH_S`, or within `FIRST_S` if the peer was the first process, whose end JAX
answers by aborting all others. `meetings` tells how a loss is noticed, and when. All that a process
writes must therefore bear that it ends at any moment.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ecjax import meetings
from ecjax.atomic import WriteError
from ecjax.errors import InputError, UsageError, neutral

FAULT, BAD_INPUT, LOST = 1, 2, 75  # exit codes
FINISH_S = 20.0  # for the current cell, as after SIGTERM
FIRST_S = 4.0  # less than the six seconds that `_delay_abort` gains
VERDICT_S = 3.0  # in which a loss that breaks a computation is known
JAX_HEARTBEAT_S = 600  # more than `meetings.SILENT_S`, so that JAX never speaks first
ALIKE = "all are started by one command, with the same flags, where there is as much memory"
WAY_OUT = "what was done is in the store, and the same command goes on from there"


class PeerLost(RuntimeError):
    """Another process of the run is gone; the message names it. Exit code 75."""


class Alone:
    """A run of one process."""

    index, count = 0, 1

    def meet(self, name: str) -> None:
        """Waits until all processes have come to the meeting of that name."""

    def summed(self, arrays: Any) -> Any:
        """The sums over all processes of float64 and int64 arrays (a pytree)."""
        return arrays

    def check(self) -> None:
        """Raises PeerLost if a process is gone."""

    def close(self) -> None:
        """Ends the sharing after all work is done."""

    def leave(self, code: int = FAULT) -> None:
        """Ends it before that, because of an error, which gives the exit code."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.close() if error is None else self.leave(exit_code(error))


class Peers(Alone):
    """A run of several processes. `join` makes it.

    Args:
        index, count: which process this is, of how many.
        line: to the hub, through which they meet.
        hub: in process 0.
    """

    def __init__(self, index: int, count: int, line: meetings.Line, hub: meetings.Hub | None):
        self.index, self.count = index, count
        self._line, self._hub = line, hub
        self._changed = threading.Condition()
        self._port = self._met = 0
        self._hosts: list[str] = []
        self._error: PeerLost | UsageError | None = None
        self._over = False
        line.send(hello={"index": index, "count": count, "host": socket.gethostname()})
        threading.Thread(target=self._watch, name="ecjax-peers", daemon=True).start()

    def start(self, host: str) -> None:
        """Waits until all are there, then starts JAX on them, its service on process 0's host.

        A process that has a host to itself uses all of its devices, or those that
        JAX_LOCAL_DEVICE_IDS names. Several on a host share them as JAX does: in a job of Slurm or
        Open MPI the i-th of them uses GPU i, elsewhere each uses all.

        Raises:
            PeerLost: one has not come, or is gone again.
            UsageError: they do not fit together, or JAX was used before.
        """
        self._wait_for(lambda: self._port)
        _delay_abort()
        jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM for itself
        bind = "127.0.0.1" if host in meetings.LOOPBACK else "[::]"
        host = f"[{host}]" if ":" in host else host
        try:
            with self._blaming_a_loss():
                jax.distributed.initialize(
                    f"{host}:{self._port}",
                    self.count,
                    self.index,
                    coordinator_bind_address=f"{bind}:{self._port}",
                    heartbeat_timeout_seconds=JAX_HEARTBEAT_S,
                    # A job's processes would get one GPU each, also one that has a host to itself.
                    cluster_detection_method="deactivate" if self._has_host() else None,
                )
        except RuntimeError as error:
            if isinstance(error, PeerLost):
                raise
            raise UsageError(f"JAX does not start on {self.count} processes: {error}") from error

    def meet(self, name: str) -> None:
        """Waits until all processes have come to the meeting of that name.

        Raises:
            PeerLost: one is gone.
            UsageError: one has come to another meeting: it runs another command.
        """
        self.check()
        wanted = self._met + 1
        self._line.send(at=name)
        self._wait_for(lambda: self._met == wanted)

    def check(self) -> None:
        """Raises what `meet` does, if it is known already."""
        if self._error is not None:
            raise self._error

    def summed(self, arrays: Any) -> Any:
        """The sums over all processes, the same bits in each.

        Args:
            arrays: a pytree of NumPy arrays, float64 or int64, of the same shapes everywhere.

        Returns:
            The same pytree of the sums, by one `psum` over one device of each process.

        Raises:
            As `meet`.
        """
        leaves, tree = jax.tree.flatten(arrays)
        # A collective waits for the late half a minute only, a meeting for as long as they live.
        self.meet("sum of " + ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves))
        parts = [leaf for leaf in leaves if leaf.size]  # Gloo, in JAX 0.11, dies of empty arrays
        with self._blaming_a_loss(), _standard_output_kept(), jax.enable_x64(True):
            mesh = _one_device_of_each()
            sums = _psum(mesh)([_part(leaf, mesh, self.index) for leaf in parts])
            found = iter([np.array(total.addressable_data(0))[0] for total in sums])
        return jax.tree.unflatten(tree, [next(found) if leaf.size else leaf for leaf in leaves])

    def close(self) -> None:
        """Ends the sharing once all processes have come here. JAX goes on, for each on its own.

        Raises:
            As `meet`.
        """
        try:
            self.meet("all done")
            with self._blaming_a_loss():
                jax.distributed.shutdown()
            self.meet(meetings.END)
        except BaseException as error:
            self.leave(exit_code(error))
            raise
        if self._hub is not None:
            self._hub.join()  # it tells the others, too, before this process ends

    def leave(self, code: int = FAULT) -> None:
        """Ends it because of an error; to the others, this process is gone.

        The first process waits for the others to end, because its end would abort them. The
        interpreter then ends with this exit code, and without what JAX would do: wait for
        processes that are not there.
        """
        self._over = True
        self._line.close()
        atexit.register(_end, code)  # runs before JAX's own
        if self._hub is not None:
            self._hub.wait_until_all_left(FINISH_S + FIRST_S)

    def _wait_for(self, condition: Callable[[], Any]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or condition())
        self.check()

    @contextlib.contextmanager
    def _blaming_a_loss(self) -> Iterator[None]:
        """Raises PeerLost for an error of JAX that a loss explains; one may be known of later."""
        try:
            yield
        except RuntimeError:
            with self._changed:
                self._changed.wait_for(lambda: self._error is not None, VERDICT_S)
            self.check()
            raise

    def _watch(self) -> None:
        """The thread that hears from the hub, and ends the process where nothing else does."""
        deadline = math.inf
        while not self._over and time.monotonic() < deadline:
            messages = self._line.read()
            for message in messages or ():
                self._take(message)
            how = None
            if messages is None:
                how = "is gone"
            elif not self._line.alive():
                how = f"has not answered for {meetings.SILENT_S:.0f} s"
            if how and not self._over:
                self._fail(PeerLost(f"{self._first()} {how}; {WAY_OUT}"))
                time.sleep(FIRST_S)
                break
            if self._error is not None:
                deadline = min(deadline, time.monotonic() + FINISH_S)
        if not self._over:
            with contextlib.suppress(OSError):
                os.write(2, f"ecjax: {self._error}\n".encode())
            os._exit(exit_code(self._error))

    def _take(self, message: dict) -> None:
        with self._changed:
            match message:
                case {"ready": int(port), "hosts": list(hosts)}:
                    self._port, self._hosts = port, hosts
                case {"go": name}:
                    self._met += 1
                    self._over = name == meetings.END
                case {"lost": how}:
                    self._fail(PeerLost(f"{neutral(how)}; {WAY_OUT}"))
                case {"refused": how} | {"differ": how}:
                    self._fail(UsageError(f"{neutral(how)}; {ALIKE}"))
            self._changed.notify_all()

    def _fail(self, error: PeerLost | UsageError) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _has_host(self) -> bool:
        """Whether no other process is on this one's host."""
        return self._hosts.count(self._hosts[self.index]) == 1

    def _first(self) -> str:
        host = f" (host {neutral(self._hosts[0])})" if self._hosts else ""
        return f"process 0 of {self.count}{host}"


def _delay_abort() -> None:
    """Has an abort wait for six seconds, in which `_watch` ends the process and says why.

    When the first process is gone, JAX calls abort() in the others from a thread of its own, where
    no Python can catch it. SIGABRT is number 6, which its handler sleep(6) takes for seconds.
    """
    if sys.platform != "win32":
        libc = ctypes.CDLL(None)
        libc.signal.argtypes = ctypes.c_int, ctypes.c_void_p
        libc.signal.restype = ctypes.c_void_p
        libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def exit_code(error: BaseException | None) -> int:
    """With which a process ends because of an error."""
    if isinstance(error, InputError):
        return BAD_INPUT
    interrupted = isinstance(error, (PeerLost, WriteError, KeyboardInterrupt))
    return LOST if interrupted else FAULT


@contextlib.contextmanager
def _standard_output_kept() -> Iterator[None]:
    """Has what Gloo says on standard output, which is for results, go to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _one_device_of_each() -> Mesh:
    first = {device.process_index: device for device in reversed(jax.devices())}
    return Mesh(np.array([first[index] for index in sorted(first)]), ("process",))


def _part(leaf: np.ndarray, mesh: Mesh, index: int) -> jax.Array:
    """This process's array as part of a global one, (processes, …)."""
    own = jax.device_put(leaf[None], mesh.devices[index])
    shape = (mesh.size, *leaf.shape)
    sharding = NamedSharding(mesh, PartitionSpec("process"))
    return jax.make_array_from_single_device_arrays(shape, sharding, [own])


@functools.cache
def _psum(mesh: Mesh):
    """The compiled sum: arrays (processes, …) in, (1, …) out, on every device."""
    added = functools.partial(lax.psum, axis_name="process")
    specs = PartitionSpec("process"), PartitionSpec()
    return jax.jit(jax.shard_map(added, mesh=mesh, in_specs=specs[0], out_specs=specs[1]))
