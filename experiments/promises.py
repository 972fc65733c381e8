"""What ecjax promises of itself: the steps of `seeds`, `scaling`, `plan`, `memory` and `cold`."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import rivals
import workloads
from measuring import (
    ROUTES,
    Compilations,
    Rows,
    Setup,
    best_rate,
    chosen_route,
    clock,
    exponent,
    float32_moments,
    force_route,
    framing,
    import_seconds,
    in_child,
    peak_gib,
    plan_only_seconds,
    planned_seconds,
    refitting,
    say,
)
from workloads import FOLDS, Sample, made_up

import ecjax
from ecjax import demo, world

PAPER_WIDTHS = (512, 256, 128, 64)

# Seeds


def further_seed(setup: Setup, tasks: dict[str, ecjax.Task], more: int, **arguments: Any) -> float:
    """Seconds of one further seed, as the difference between many and one."""
    one = setup.warm(tasks, seeds=1, **arguments).median
    many = setup.warm(tasks, seeds=1 + more, **arguments).median
    return (many - one) / more


@functools.cache
def seeds_sample(setup: Setup) -> Sample:
    return made_up(setup.quick_or(3500, 500), PAPER_WIDTHS)


def seeds_further(setup: Setup) -> Rows:
    sample = seeds_sample(setup)
    say("seeds: ecjax")
    ours = further_seed(setup, sample.as_tasks(), setup.quick_or(50, 2))
    say("seeds: scikit-learn tuned")
    with rivals.workers() as pool:
        count = pool.count

        def fit(i: int):
            folds = [(count * i + j) % FOLDS for j in range(count)]
            return rivals.ridge_tuned([sample], folds, pool, merged=True)

        fit(setup.repeats)
        theirs = clock(fit, setup.repeats).median * FOLDS / count
    return [
        {
            "way": "a further seed, scikit-learn tuned",
            "measured": f"{count} folds of every subset × {FOLDS / count:g}; ecjax: difference "
            f"between {1 + setup.quick_or(50, 2)} seeds and 1",
            "seconds": theirs,
            "ecjax (s)": ours,
            "ratio": theirs / ours,
            "goal": 30,
            "goal (s)": 0.25,
        }
    ]


def seeds_thousand(setup: Setup) -> Rows:
    rows, seeds = 4581, setup.quick_or(1000, 20)
    tasks = made_up(rows, PAPER_WIDTHS).as_tasks()
    say(f"seeds: {seeds} seeds of {rows} rows, the first call counted")
    seconds = clock(lambda _: setup.evaluate(tasks, seeds=seeds), 1).median
    return [
        {
            "study": f"{seeds:,} seeds of {rows:,} × 960, one target, compilation included",
            "seconds": seconds,
            "goal (s)": 300,
        }
    ]


def seeds_routes(setup: Setup) -> Rows:
    rows = []
    for route in ROUTES:
        say(f"seeds: route {route}")
        with force_route(route):
            seconds = further_seed(setup, seeds_sample(setup).as_tasks(), setup.quick_or(5, 2))
        rows.append({"route forced on every subset": route, "seconds a further seed": seconds})
    return rows


SETTINGS = (  # rows, columns, folds
    (500, 16, 10), (500, 64, 5), (500, 64, 20), (500, 256, 10), (500, 960, 20),
    (1000, 64, 10), (1000, 256, 20), (1000, 512, 5), (2000, 32, 20), (2000, 128, 20),
    (2000, 512, 10), (3500, 64, 20), (3500, 256, 20), (3500, 576, 20), (3500, 960, 5),
    (5000, 128, 50), (5000, 512, 50), (8829, 64, 20), (8829, 256, 20), (8829, 576, 20),
)  # fmt: skip


def seeds_settings(setup: Setup) -> Rows:
    """The cost model's choice against the faster route, one subset and one target each."""
    if not ROUTES:
        return []
    rows = []
    for n, p, k in SETTINGS[: setup.quick_or(len(SETTINGS), 3)]:
        say(f"seeds: routes at n={n}, p={p}, K={k}")
        tasks = made_up(n, (p,)).as_tasks()
        seconds = {}
        for route in ROUTES:
            with force_route(route):
                seconds[route] = further_seed(setup, tasks, 10, folds=k)
        faster, chosen = min(seconds, key=seconds.get), chosen_route(n, p, k)
        rows.append(
            {
                "n": n,
                "p": p,
                "K": k,
                **{f"{route} (ms a seed)": 1e3 * s for route, s in seconds.items()},
                "faster": faster,
                "chosen": chosen,
                "right": faster == chosen,
            }
        )
    return rows


# Scaling


class Axis(NamedTuple):
    """One axis of the scaling table.

    Attributes:
      about: what stays fixed.
      values: along the axis.
      study: value → rows, widths, targets and options of a study.
      least: smallest value that the exponent is fitted from.
      goal: of the exponent.
    """

    about: str
    values: tuple[int, ...]
    study: Callable[[int], tuple[int, tuple[int, ...], int, dict[str, Any]]]
    least: int = 0
    goal: str = ""


AXES = {
    "rows": Axis(
        "960 columns",
        (2500, 5000, 10_000, 20_000, 40_000),
        lambda v: (v, PAPER_WIDTHS, 1, {}),
        10_000,
        "≤ 1.15",
    ),
    "columns": Axis(
        "5,000 rows, widths as 8 : 4 : 2 : 1",
        (120, 240, 480, 960, 1920),
        lambda v: (5000, tuple(v * part // 15 for part in (8, 4, 2, 1)), 1, {}),
    ),
    "subsets": Axis(
        "5,000 rows, 2 to 7 embeddings of 64 columns",
        (3, 7, 15, 31, 63, 127),
        lambda v: (5000, (64,) * v.bit_length(), 1, {}),
    ),
    "seeds": Axis(
        "5,000 rows, 240 columns",
        (1, 4, 16, 64),
        lambda v: (5000, (128, 64, 32, 16), 1, {"seeds": v}),
        goal="≤ 1.05",
    ),
    "folds": Axis(
        "5,000 rows, 960 columns",
        (5, 10, 20, 40, 80),
        lambda v: (5000, PAPER_WIDTHS, 1, {"folds": v}),
    ),
    "targets": Axis(
        "5,000 rows, 960 columns",
        (1, 4, 16, 64, 256),
        lambda v: (5000, PAPER_WIDTHS, v, {}),
        goal="< 1",
    ),
}


def scaling(setup: Setup, axis: str) -> Rows:
    """Warm seconds along one axis, and the slope of their logarithms."""
    about, values, study, least, goal = AXES[axis]
    values = values[: setup.quick_or(len(values), 2)]
    seconds = []
    for value in values:
        say(f"scaling: {axis} = {value:,}")
        rows, widths, targets, options = study(value)
        tasks = made_up(rows, widths, targets).as_tasks()
        seconds.append(setup.warm(tasks, **options).median)
    fitted = [i for i, value in enumerate(values) if value >= least]
    if len(fitted) < 2:
        fitted = list(range(len(values)))
    return [
        {
            "axis": axis,
            "the rest": about,
            "values": list(values),
            "seconds": seconds,
            "exponent": exponent([values[i] for i in fitted], [seconds[i] for i in fitted]),
            "fitted from": values[fitted[0]],
            "goal": goal,
        }
    ]


# The plan's estimate

RIDGE_STUDIES = (  # rows, widths, targets, options
    (1000, (64, 32), 1, {}),
    (3500, PAPER_WIDTHS, 1, {}),
    (8829, PAPER_WIDTHS, 10, {}),
    (20_000, PAPER_WIDTHS, 1, {}),
    (5000, (960,), 1, {"folds": 10}),
    (5000, (64,) * 6, 1, {}),
    (2000, (256, 128), 100, {"folds": 5}),
    (3500, (128, 64, 32), 1, {"seeds": 20}),
    (3500, PAPER_WIDTHS, 1, {"seeds": 5}),
    (600, (960, 256), 1, {}),
)
CLASS_STUDIES = (  # rows, widths, classes, options
    (1000, (64, 32), 2, {}),
    (2000, (64, 32), 6, {"folds": 10}),
    (3596, (64,), 18, {}),
    (2000, (256, 64), 10, {"folds": 5}),
)


def plan(setup: Setup, kind: str) -> Rows:
    studies = []
    if kind == "ridge":
        for n, widths, targets, options in RIDGE_STUDIES:
            text = f"ridge {n:,} × {list(widths)}, {targets} targets {options or ''}"
            studies.append((text, lambda a=(n, widths, targets): made_up(*a), options))
    else:
        for n, widths, classes, options in CLASS_STUDIES:
            text = f"logistic {n:,} × {list(widths)}, {classes} classes {options or ''}"
            studies.append((text, lambda a=(n, widths, 1, classes): made_up(*a), options))
        studies.append(("logistic real crops", workloads.crops, {}))
    rows = []
    for text, make, options in studies[: setup.quick_or(len(studies), 2)]:
        say(f"plan: {text}")
        tasks = make().as_tasks()
        estimate = planned_seconds(tasks, **options)
        seconds = setup.warm(tasks, **options).median
        limit = 2 if kind == "ridge" else 4
        rows.append(
            {
                "study": text,
                "estimate (s)": estimate,
                "measured (s)": seconds,
                "estimate ÷ measured": estimate / seconds,
                f"within {limit} ×": bool(1 / limit <= estimate / seconds <= limit),
            }
        )
    return rows


# Memory


def memory(setup: Setup, name: str) -> Rows:
    flags_of_child = [f"--platform={setup.platform}"] + (["--quick"] if setup.quick else [])
    say(f"memory: {name}, in a process of its own")
    return [in_child(name, flags_of_child)]


def child_study(setup: Setup) -> dict[str, Any]:
    tasks = workloads.paper_study(setup.quick)
    seconds = clock(lambda _: setup.evaluate(tasks), 1).median
    return _memory_row("the paper's study: 6 tasks, 4 samples, 15 subsets", seconds, "< 4 GiB")


def child_ten(setup: Setup) -> dict[str, Any]:
    models = setup.quick_or(10, 5)
    tasks = made_up(5000, (64,) * models).as_tasks()
    seconds = clock(lambda _: setup.evaluate(tasks, folds=10), 1).median
    text = f"{models} embeddings of 64 columns, {2**models - 1:,} subsets, 5,000 rows, 10 folds"
    return _memory_row(text, seconds, "< 180 s")


def child_million(setup: Setup) -> dict[str, Any]:
    n = setup.quick_or(1_000_000, 20_000)
    tasks = made_up(n, PAPER_WIDTHS).as_tasks()
    held = peak_gib()
    say(f"the data take {held:.1f} GiB")
    options = {"folds": 5, "precision": "float32"}
    seconds = clock(lambda _: setup.evaluate(tasks, **options), 1).median
    row = _memory_row(f"{n:,} × 960 float32, 15 subsets, 5 folds, one target", seconds, "< 14 GiB")
    (task,) = tasks.values()
    part = min(n, 200_000)
    form = float32_moments([x[:part] for x in task.embeddings.values()], task.y[:part], 5)
    form()
    forming = clock(lambda _: form(), setup.repeats).median
    rate = 2 * part * 960**2 / forming
    row["note"] = (
        f"{held:.1f} GiB of them before the call; moments of {part:,} of the rows by themselves, "
        f"2·n·960² ÷ {forming:.2f} s = {rate / 1e9:.0f} GF/s, "
        f"{rate / best_rate('float32'):.0%} of the float32 GEMM"
    )
    return row


def _memory_row(study: str, seconds: float, goal: str) -> dict[str, Any]:
    return {
        "study": study,
        "peak (GiB)": peak_gib(),
        "seconds, compilation included": seconds,
        "goal": goal,
        "note": "",
    }


# Bootstraps


def bootstrap_scores(setup: Setup) -> Rows:
    say("bootstrap: the paper's study, in a process of its own")
    flags_of_child = [f"--platform={setup.platform}"] + (["--quick"] if setup.quick else [])
    return in_child("scores", flags_of_child)["rows"]


def bootstrap_refits(setup: Setup) -> Rows:
    say("bootstrap: refits, in a process of its own")
    flags_of_child = [f"--platform={setup.platform}"] + (["--quick"] if setup.quick else [])
    return [in_child("refits", flags_of_child)]


def child_refits(setup: Setup) -> dict[str, Any]:
    refitted = refitting(seeds_sample(setup).as_tasks(), require_platform=setup.platform)
    count, held = setup.quick_or(200, 10), peak_gib()
    started = time.perf_counter()
    refitted(count)
    return {
        "refits, choices kept": count,
        "compilation included (s)": time.perf_counter() - started,
        "goal (s)": "< 300",
        "peak beyond what was held (GiB)": peak_gib() - held,
    }


def child_scores(setup: Setup) -> dict[str, Any]:
    tasks = workloads.paper_study(setup.quick)
    frames = framing(tasks, require_platform=setup.platform, **LOOSE)
    rows = []
    for count in (0, setup.quick_or(10_000, 500)):
        held = peak_gib()
        seconds = clock(lambda _, count=count: frames(count), setup.repeats).median
        rows.append(
            {
                "replicates": count,
                "tables (s)": seconds,
                "goal (s)": "< 10" if count else "",
                "peak beyond what was held (GiB)": peak_gib() - held,
                "goal (GiB)": "< 2" if count else "",
            }
        )
    return {"rows": rows}


# Cold start


def cold_start(setup: Setup) -> Rows:
    """Importing, planning and compiling."""
    say("cold: importing")
    jax_s, ecjax_s = import_seconds()
    say("cold: compiling, in a process of its own")
    found = in_child("start", [f"--platform={setup.platform}"])
    parts = [
        ("import jax", jax_s, ""),
        ("import ecjax, beyond jax", ecjax_s, ""),
        ("align and plan", found["plan"], ""),
        ("trace and compile: first call less a warm one", found["compile"], ""),
        ("of which XLA", found["xla"], ""),
        ("ecjax's sum", ecjax_s + found["plan"] + found["compile"], "< 15 s"),
    ]
    return [{"what": what, "seconds": seconds, "goal": goal} for what, seconds, goal in parts]


def cold_recompiles(setup: Setup) -> Rows:
    """Compilations of a second run that differs in one thing."""
    found = in_child("recompiles", [f"--platform={setup.platform}"])
    return [
        {"after a change of": change, "compilations": count, "goal": goal}
        for change, count, goal in found["recompiled"]
    ]


def demo_tasks(rows: int, seed: int = workloads.SEED) -> dict[str, ecjax.Task]:
    """The demo's six tasks on so many of its rows a sample, in the world of a seed."""
    drawn = demo.draw_samples(world.make_world(seed), seed)
    return {name: first_rows(task, rows) for name, task in world.as_tasks(drawn).items()}


def first_rows(task: ecjax.Task, rows: int) -> ecjax.Task:
    """A task on its first rows."""
    return dataclasses.replace(
        task,
        y=task.y[:rows],
        embeddings={name: x[:rows] for name, x in task.embeddings.items()},
        lat=task.lat[:rows],
        lon=task.lon[:rows],
        strata={name: (values[:rows], how) for name, (values, how) in task.strata.items()},
    )


# Where only compiling matters, fits stop early: the tolerance is data to the compiled code.
LOOSE = {"logistic_tolerance": 0.1}


def child_start(setup: Setup) -> dict[str, Any]:
    """Seconds of planning, of compiling all and of XLA's part in it, of the 15 × 6 study."""
    compilations = Compilations()
    tasks = demo_tasks(demo.ROWS)
    planning = plan_only_seconds(tasks, require_platform=setup.platform)
    started = time.perf_counter()
    _, xla = compilations.during(lambda: setup.evaluate(tasks, **LOOSE))
    first = time.perf_counter() - started
    again = clock(lambda _: setup.evaluate(tasks, **LOOSE), 1).median
    return {"plan": planning, "compile": first - again, "xla": xla}


def child_recompiles(setup: Setup) -> dict[str, Any]:
    """How often XLA compiles anew after a change, in the 15 × 6 study on fewer rows."""
    compilations = Compilations()
    rows = 600
    tasks = demo_tasks(rows)
    setup.evaluate(tasks, **LOOSE)
    rng = np.random.default_rng(0)
    shuffled = {
        name: dataclasses.replace(task, y=rng.permutation(task.y)) for name, task in tasks.items()
    }
    fewer = {name: first_rows(task, rows - 7) for name, task in tasks.items()}
    penalties = {"ridge_lambda": 3.0, "logistic_c": 0.5, "logistic_tolerance": 0.2}
    changes = (
        ("the seed and so the folds", tasks, LOOSE | {"seed": 7}, "0"),
        ("penalties and tolerance", tasks, penalties, "0"),
        ("labels", shuffled, LOOSE, "0"),
        ("all values of all rows", demo_tasks(rows, seed=1), LOOSE, "0"),
        (f"n ({rows} to {rows - 7})", fewer, LOOSE, "≤ 1"),
    )
    recompiled = []
    for change, changed, options, goal in changes:
        say(f"cold: another run after a change of {change}")
        count, _ = compilations.during(
            lambda changed=changed, options=options: setup.evaluate(changed, **options)
        )
        recompiled.append((change, count, goal))
    return {"recompiled": recompiled}


CHILDREN: dict[str, Callable[[Setup], dict[str, Any]]] = {
    "study": child_study,
    "ten": child_ten,
    "million": child_million,
    "scores": child_scores,
    "refits": child_refits,
    "start": child_start,
    "recompiles": child_recompiles,
}
