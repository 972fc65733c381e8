"""Clocks, machine rates and child processes for `benchmark.py`, and its few looks inside ecjax.

The public interface does not tell everything that is measured. What is read past it stands in the
adapters at the end of this file, one function each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jax import lax
from threadpoolctl import threadpool_info

import ecjax
from ecjax import cost, engine, gram, refine
from ecjax.arrays import align_arrays
from ecjax.compute import Runner, compute
from ecjax.devices import find_device
from ecjax.evaluate import Run
from ecjax.folds import random_folds
from ecjax.plan import make_plan
from ecjax.progress import Silent
from ecjax.refits import with_refits
from ecjax.results import columns_of, frames_of
from ecjax.settings import from_arguments
from ecjax.subsets import build_lattice

GIB = 2**30
GEMM_SIZE = 4096
COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"
PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "scikit-learn", "himalaya", "torch")
BENCHMARK = Path(__file__).with_name("benchmark.py")
PAPER = {"protocol": "paper"}  # what the rivals do: fixed penalties


Rows = list[dict[str, Any]]  # of a table: column → value
STARTED = time.perf_counter()


def say(text: str) -> None:
    """A line of progress, with the clock."""
    print(f"{time.perf_counter() - STARTED:7.1f} s  {text}", file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Setup:
    """What the flags ask for, and how ecjax is measured under it."""

    repeats: int
    platform: str
    quick: bool

    def quick_or(self, value: Any, trial: Any) -> Any:
        """The value, or that of a trial."""
        return trial if self.quick else value

    def evaluate(self, tasks: Mapping[str, ecjax.Task], **arguments: Any) -> ecjax.Result:
        """What is measured of ecjax: the whole call, from arrays to tables."""
        arguments = PAPER | {"require_platform": self.platform} | arguments
        return ecjax.evaluate({}, tasks, **arguments)

    def warm(
        self, tasks: Mapping[str, ecjax.Task], repeats: int | None = None, **arguments: Any
    ) -> Timing:
        """Timing of a study that has been run once before."""
        self.evaluate(tasks, **arguments)
        return clock(lambda _: self.evaluate(tasks, **arguments), repeats or self.repeats)


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds and result of each repetition."""

    seconds: list[float]
    results: list[Any]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def clock(work: Callable[[int], Any], repeats: int, limit_s: float = 60.0) -> Timing:
    """Times work(0), work(1), …; stops early where the next one would pass the limit."""
    seconds, results = [], []
    for i in range(repeats):
        started = time.perf_counter()
        results.append(work(i))
        seconds.append(time.perf_counter() - started)
        if sum(seconds) + seconds[-1] > limit_s:
            break
    return Timing(seconds, results)


def watched(work: Callable[[], Any]) -> tuple[Any, float]:
    """A result, and the share of the machine's CPU time that other processes took meanwhile.

    It must be next to nothing: beside another busy process, threads that wait for each other can
    become ten times slower.
    """
    started = time.perf_counter()
    everyone, own = _cpu_seconds()
    result = work()
    everyone_after, own_after = _cpu_seconds()
    foreign = (everyone_after - everyone) - (own_after - own)
    seconds = time.perf_counter() - started
    return result, max(0.0, foreign / (seconds * (os.cpu_count() or 1)))


def _cpu_seconds() -> tuple[float, float]:
    """CPU time of all processes, and of this one with its children, so far."""
    whole = psutil.cpu_times()
    process = psutil.Process()
    own = process.cpu_times()
    spent = own.user + own.system + own.children_user + own.children_system
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            spent += sum(child.cpu_times()[:2])
    idle = whole.idle + getattr(whole, "iowait", 0.0)
    return sum(whole) - idle - getattr(whole, "guest", 0.0), spent


RATES: dict[str, float] = {}  # "numpy float64" → FLOP/s, of the full size, as far as measured


@functools.cache
def gemm_rates(dtype: str, size: int = GEMM_SIZE) -> dict[str, float]:
    """FLOP/s of a square product: of NumPy's BLAS with all its threads (CPU), and of jaxlib."""
    a = np.random.default_rng(0).normal(size=(size, size)).astype(dtype)
    rates = {}
    with jax.enable_x64(True):
        b = jnp.asarray(a)
        product = jax.jit(functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST))
        ways = {"jaxlib": lambda _: jax.block_until_ready(product(b, b))}
        ways["jaxlib"](0)  # compiles
        if b.devices().pop().platform == "cpu":
            ways["numpy"] = lambda _: a @ a
        for name, way in ways.items():
            rates[name] = 2 * size**3 / min(clock(way, 2).seconds)
            if size == GEMM_SIZE:
                RATES[f"{name} {dtype}"] = rates[name]
    return rates


def best_rate(dtype: str = "float64", size: int = GEMM_SIZE) -> float:
    """FLOP/s of the faster library."""
    return max(gemm_rates(dtype, size).values())


def machine() -> dict[str, Any]:
    """What a figure depends on, without names of hosts or places."""
    device = jax.config.jax_default_device or jax.devices()[0]
    blas = {
        f"{library['internal_api']} {library['version']} ({library.get('architecture', '?')})"
        for library in threadpool_info()
        if library["user_api"] == "blas"
    }
    return {
        "gemm": dict(RATES),
        "device": device.device_kind if device.platform != "cpu" else "cpu",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1),
        "blas": sorted(blas),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def peak_gib() -> float:
    """Largest resident memory of this process so far."""
    # VmHWM starts anew with each program, unlike ru_maxrss, which a child inherits.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / GIB
    raise OSError("no VmHWM in /proc/self/status")


def in_child(name: str, flags: Sequence[str]) -> dict[str, Any]:
    """Runs one measurement of `benchmark.py` in a fresh process; the JSON that it prints last."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), f"--child={name}", *flags],
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"the child process for {name} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def import_seconds() -> tuple[float, float]:
    """Seconds of importing jax, and then of importing ecjax, in a fresh process."""
    code = (
        "import time; a = time.perf_counter(); import jax; b = time.perf_counter(); "
        "import ecjax; print(b - a, time.perf_counter() - b)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.split()
    return float(first), float(second)


class Compilations:
    """Counts what XLA compiles, and for how long."""

    def __init__(self):
        self.durations: list[float] = []
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration: float, **_: Any) -> None:
        if event == COMPILE_EVENT:
            self.durations.append(duration)

    def during(self, work: Callable[[], Any]) -> tuple[int, float]:
        """Number of compilations while this work runs, and the seconds they take."""
        before = len(self.durations)
        work()
        return len(self.durations) - before, sum(self.durations[before:])


def exponent(values: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of log seconds over log values."""
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])


# Adapters: what is read past the public interface


def logistic_evaluations(tasks: Mapping[str, Any], **arguments: Any) -> np.ndarray:
    """(s, k) pairs of matrix products that each fold's fit took, of one classification task."""
    settings = from_arguments(PAPER | arguments)
    device = find_device(settings.require_platform)
    (result,) = compute(align_arrays({}, tasks), settings, device, Silent())
    return np.asarray(result.sums.iterations)[0]


def planned_seconds(tasks: Mapping[str, Any], **arguments: Any) -> float:
    """What `ecjax plan` would say that the study takes, warm."""
    settings = from_arguments(PAPER | arguments)
    seconds = Run("", align_arrays({}, tasks), settings, {}, Silent()).plan().seconds
    return math.nan if seconds is None else seconds


def plan_only_seconds(tasks: Mapping[str, Any], **arguments: Any) -> float:
    """How long aligning and planning take."""
    started = time.perf_counter()
    settings = from_arguments(PAPER | arguments)
    make_plan(align_arrays({}, tasks), settings, find_device(settings.require_platform))
    return time.perf_counter() - started


def framing(tasks: Mapping[str, Any], **arguments: Any) -> Callable[[int], Any]:
    """Bootstraps → the tables of a study, everything fitted already."""
    settings = from_arguments(arguments)
    device = find_device(settings.require_platform)
    found = compute(align_arrays({}, tasks), settings, device, Silent())

    def frames(bootstraps: int) -> Any:
        drawn = [dataclasses.replace(r, bootstraps=bootstraps) for r in found]
        return frames_of(columns_of(drawn, False), ())

    return frames


def refitting(tasks: Mapping[str, Any], **arguments: Any) -> Callable[[int], Any]:
    """Replicates → the results of a study with refits, everything fitted once already."""
    settings = from_arguments(arguments)
    device = find_device(settings.require_platform)
    found = compute(align_arrays({}, tasks), settings, device, Silent())

    def refitted(bootstraps: int) -> Any:
        asked = dataclasses.replace(settings, interval="refit", bootstraps=bootstraps)
        return with_refits(found, asked, Runner(device, Silent()))

    return refitted


def float32_moments(blocks: Sequence[np.ndarray], y: np.ndarray, k: int) -> Callable[[], Any]:
    """Forms the moments of all folds as `refine.fit` does, from a table standardised before."""
    held_out = random_folds(len(y), k, (0,)).held_out[0]

    @jax.jit
    def moments(table, y, held_out):
        def of(fold):
            return refine.moments(table, y, held_out[fold], 1)

        return gram.over_folds(of, k, len(y))[0]

    with jax.enable_x64(True):
        table = jax.jit(refine.table_of)(tuple(map(jnp.asarray, blocks)))
        arguments = jax.device_put((table, y.reshape(len(y), -1), held_out))

    def form():
        with jax.enable_x64(True):
            return jax.block_until_ready(moments(*arguments))

    return form


ROUTES = ("gram", "hat")


@contextlib.contextmanager
def force_route(route: str) -> Iterator[None]:
    """Makes evaluations inside take this ridge route for every subset; forgets compiled code."""
    module = sys.modules[compute.__module__]
    planned = module.make_plan

    def forced(tasks, settings, device, _):
        return planned(tasks, settings, device, route)

    engine.study.clear_cache()
    module.make_plan = forced
    try:
        yield
    finally:
        module.make_plan = planned
        engine.study.clear_cache()


def chosen_route(rows: int, columns: int, folds: int) -> str:
    """The route that the cost model picks on a CPU for one subset, one target and many seeds."""
    lattice = build_lattice([columns], [(0,)])
    by_gram, _ = cost.share_out(lattice, rows, 1, folds, seeds=10_000, on_host=True)
    return "gram" if by_gram else "hat"
