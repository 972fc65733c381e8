"""Does the demo find the truth? Compares found and true indices of several made-up worlds.

    python experiments/demo_truth.py [--seeds=42,43,44,45,46] [--verbose]

For each seed, which makes the world as well as the folds, the demo's evaluation is run and its 66
`eci_pooled` of whole tasks (r2; accuracy for crops) are set beside `eci_true`. Demanded of every
seed: at least 60 lie within max(0.05, 3 standard errors) of the truth, and those whose truth is
beyond ±0.05 by more than 3 standard errors have its sign. The standard error is that of the ratio
of the pooled losses of the set and of its best single. How many intervals hold the truth is counted
too: over all seeds it should be 90 % or more. Exits with 1 where a seed or that count fails.

Expect: every seed passes; over the 20 from 42 on 94.7 % of the intervals hold the truth. Takes a
minute a seed on 2 cores.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from absl import app, flags

from ecjax import demo
from ecjax.progress import Silent
from ecjax.settings import from_arguments

SEEDS = flags.DEFINE_list("seeds", ["42", "43", "44", "45", "46"], "Seeds of worlds.")
VERBOSE = flags.DEFINE_bool("verbose", False, "Also print every index.")
WANTED_WITHIN = 60
WANTED_INSIDE = 0.9


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    failed, inside = [], []
    for seed in map(int, SEEDS.value):
        started = time.perf_counter()
        made = demo.make_demo(from_arguments(demo.ARGUMENTS | {"seed": seed}), Silent())
        found = demo.compare_with_truth(made.with_truth(made.evaluate()))
        clear = found[found["clear"]]
        inside += found["inside"].tolist()
        within, right = found["within"].sum(), clear["same_sign"].sum()
        passed = within >= WANTED_WITHIN and right == len(clear)
        print(
            f"seed {seed}: {within} of {len(found)} within max(0.05, 3 standard errors); "
            f"{right} of {len(clear)} clear ones with the right sign; {found['inside'].sum()} "
            f"intervals hold the truth; "
            f"{'passed' if passed else 'FAILED'} ({time.perf_counter() - started:.0f} s)",
            flush=True,
        )
        shown = found if VERBOSE.value else found[~found["within"]]
        if len(shown):
            print(shown.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
        if not passed:
            failed.append(seed)
    share = sum(inside) / len(inside)
    print(f"{share:.1%} of all intervals hold the truth")
    sys.exit(1 if failed or share < WANTED_INSIDE else 0)


if __name__ == "__main__":
    app.run(main)
