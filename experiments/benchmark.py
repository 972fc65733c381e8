"""Sets ecjax beside its rivals, the machine's floor and its own promises, in one run.

    python experiments/benchmark.py [--parts=ridge,logistic,seeds,scaling,plan,memory,bootstrap,
        cold,strict,store] [--only=STEP,…] [--repeats=3] [--platform=cpu|gpu]
        [--out=experiments/benchmark] [--quick]

Needs the extra: `pip install -e '.[benchmark]'`. Writes `benchmark.md` (tables), `benchmark.png`
(picture) and `benchmark.json` (the raw figures); with --platform=gpu, `benchmark_gpu.*`. A part is
made of steps (`--only`), which can be measured one by one: each replaces its own rows and measures
ecjax anew beside its rival. Two steps run only where --only names them: `million` (10⁶ rows, 14
GiB) and `thousand` (1,000 seeds). The logistic part and `strict`'s crops need the paper's data in
../shared/data/better_together, or where ECJAX_PAPER_DATA points. --quick is a trial: an eighth of
the rows, one repetition; its figures mean nothing, so give it an --out of its own.

Expect: about forty minutes on 2 cores for all steps but those two, eight of them for `strict`.
Nothing else may run meanwhile.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import contests
import jax
import nesting
import promises
import record
import storing
from absl import app, flags
from measuring import Rows, Setup, machine, say, watched

PARTS = flags.DEFINE_list("parts", list(record.PARTS), "Parts to measure.")
ONLY = flags.DEFINE_list("only", [], "Steps to measure; empty: all that need not be named.")
REPEATS = flags.DEFINE_integer("repeats", 3, "Repetitions; medians are reported.", 1)
PLATFORM = flags.DEFINE_enum("platform", "cpu", ["cpu", "gpu"], "Where ecjax and JAX run.")
OUT = flags.DEFINE_string("out", None, "Stem of the files; default: beside this script.")
QUICK = flags.DEFINE_bool("quick", False, "A trial of everything, on little work.")
CHILD = flags.DEFINE_string("child", None, "Internal: one measurement, printed as JSON.")

HERE = Path(__file__).resolve().parent
NAMED_ONLY = ("memory/million", "seeds/thousand")
STEPS: dict[str, Callable[[Setup], Rows]] = {
    "ridge/ecjax": contests.ridge_ecjax,
    "ridge/called": contests.ridge_called,
    "ridge/tuned": functools.partial(contests.ridge_tuned, merged=False),
    "ridge/merged": functools.partial(contests.ridge_tuned, merged=True),
    "ridge/himalaya": contests.ridge_himalaya,
    "ridge/coordbench": contests.ridge_coordbench,
    "ridge/vmap": contests.ridge_vmap,
    "logistic/ecjax5": functools.partial(contests.logistic_ecjax, tolerance=1e-5),
    "logistic/ecjax6": functools.partial(contests.logistic_ecjax, tolerance=1e-6),
    "logistic/tight": contests.logistic_tight,
    "logistic/lbfgs5": functools.partial(contests.logistic_lbfgs, tolerance=1e-5),
    "logistic/lbfgs6": functools.partial(contests.logistic_lbfgs, tolerance=1e-6),
    "logistic/default": functools.partial(contests.logistic_lbfgs, tolerance=None),
    "logistic/threads": contests.logistic_threads,
    "seeds/further": promises.seeds_further,
    "seeds/thousand": promises.seeds_thousand,
    "seeds/routes": promises.seeds_routes,
    "seeds/settings": promises.seeds_settings,
    **{f"scaling/{axis}": functools.partial(promises.scaling, axis=axis) for axis in promises.AXES},
    "plan/ridge": functools.partial(promises.plan, kind="ridge"),
    "plan/logistic": functools.partial(promises.plan, kind="logistic"),
    "memory/study": functools.partial(promises.memory, name="study"),
    "memory/ten": functools.partial(promises.memory, name="ten"),
    "memory/million": functools.partial(promises.memory, name="million"),
    "bootstrap/scores": promises.bootstrap_scores,
    "bootstrap/refits": promises.bootstrap_refits,
    "cold/start": promises.cold_start,
    "cold/recompiles": promises.cold_recompiles,
    "strict/shared": functools.partial(nesting.ridge, penalty="shared", goal=180),
    "strict/nested": nesting.nested_loop,
    "strict/banded": functools.partial(nesting.ridge, penalty="banded", goal=600),
    "strict/crops": nesting.crops,
    "store/paper": storing.paper,
    "store/demo": storing.demo,
}


def wanted() -> list[str]:
    """The steps that the flags ask for.

    Raises:
      app.UsageError: an unknown part or step.
    """
    known = {step.split("/")[1] for step in STEPS}
    unknown = (set(PARTS.value) - set(record.PARTS)) | (set(ONLY.value) - known)
    if unknown:
        raise app.UsageError(f"no such part or step: {', '.join(sorted(unknown))}")
    steps = [step for step in STEPS if step.split("/")[0] in PARTS.value]
    if ONLY.value:
        return [step for step in steps if step.split("/")[1] in ONLY.value]
    return [step for step in steps if step not in NAMED_ONLY]


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    jax.config.update("jax_default_device", jax.devices(PLATFORM.value)[0])
    setup = Setup(1 if QUICK.value else REPEATS.value, PLATFORM.value, QUICK.value)
    if CHILD.value is not None:
        print(json.dumps(promises.CHILDREN[CHILD.value](setup)))
        return
    name = "benchmark" if PLATFORM.value == "cpu" else "benchmark_gpu"
    kept = record.Record(Path(OUT.value) if OUT.value else HERE / name, list(STEPS))
    for step in wanted():
        say(step)
        rows, others = watched(functools.partial(STEPS[step], setup))
        for row in rows:
            say(record.line(row))
        if others > record.DISTURBED:
            say(f"{step}: other processes took {others:.0%} of the CPU time; measure it again")
        kept.keep(step, rows, machine() | {"others": others})
    say(f"wrote {kept.stem}.md, .png and .json")


if __name__ == "__main__":
    app.run(main)
