"""What the largest studies would take on 1, 8 and 64 machines: the page `scale_out.md`.

    python experiments/scale_out.py

Prints and writes what `ecjax plan --devices=N --gflops=… --gib_per_s=…` says of studies whose
tables are not here: its estimates are made from shapes alone.

- 10⁸ rows × 960 columns (512 + 256 + 128 + 64), 15 subsets, 20 folds, one target, streamed;
- 10⁵ seeds of the paper's study under its own protocol, cells shared. Planned for SEEDS of them,
  and multiplied: cells of other seeds are other cells.

The rates are the measured ones of this kind of machine (`stream_plan.RATES`), and assumed ones of
an accelerator; put your own in with the flags of `ecjax plan`. Takes ten seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax
from absl import app
from workloads import paper_study

from ecjax import inner, stream_cost, stream_plan
from ecjax.arrays import align_arrays
from ecjax.evaluate import Run
from ecjax.memory import GIB
from ecjax.progress import Silent
from ecjax.scaled_plan import Machines, Needs, duration, on
from ecjax.settings import from_arguments
from ecjax.stream_cost import Shape
from ecjax.subsets import build_lattice, requested

PAGE = Path(__file__).with_name("scale_out.md")
DEVICES = (1, 8, 64)
ROWS, WIDTHS, FOLDS = 100_000_000, (512, 256, 128, 64), 20
SEEDS, ALL_SEEDS = 1000, 100_000
CORES = Machines(1, stream_plan.FIRST / 1e9, stream_plan.READ / GIB)
# A third of what an H100 does in float64 by its tensor cores, and a fast disk or network.
ACCELERATOR = Machines(1, 20_000.0, 2.0)
HEAD = """\
# The largest studies on 1, 8 and 64 machines

`python experiments/scale_out.py` wrote this page, from the estimates of `ecjax plan`. Rates of the
first machine were measured (2 cores of a 2.x GHz Xeon; {read:.1f} GiB/s of Parquet); those of the
accelerator are assumed ({gflops:,.0f} GFLOP/s, {gib:.0f} GiB/s for each) and not measured.
`ecjax plan --devices=N --gflops=… --gib_per_s=…` says it for yours.

| study | machine | 1 | 8 | 64 | what bounds it |
|---|---|---|---|---|---|
"""


def rows_needs(strict: bool) -> Needs:
    """Of the streamed study."""
    names = [f"block{i}" for i in range(len(WIDTHS))]
    lattice = build_lattice(WIDTHS, requested(names))
    penalties = len(inner.RIDGE_LAMBDA) if strict else 1
    groups = inner.group_count(FOLDS, None, "regression") if strict else 0
    shape = Shape(ROWS, lattice, FOLDS, 1, strict, groups, penalties)
    cost = stream_cost.ridge(shape, 1, 100 * GIB)
    shared = sum(cost.operations) - cost.repeated
    return Needs(shared, cost.repeated, cost.passes * cost.bytes_read, 0.0, float("inf"))


def seeds_needs(whole: bool) -> tuple[Needs, float]:
    """Of the paper's study, whole or its regressions; and GFLOP/s that its plan reckons with."""
    settings = from_arguments({"protocol": "paper", "seeds": SEEDS})
    tasks = align_arrays({}, paper_study(quick=False))
    own = tuple(task for task in tasks if whole or task.kind == "regression")
    plan, times = Run("paper", own, settings, {}, Silent()).plan(), ALL_SEEDS / SEEDS
    needs = plan.needs._replace(shared=times * plan.needs.shared, most=times * plan.needs.most)
    return needs, plan.operations / plan.seconds / 1e9


def line(study: str, machine: str, needs: Needs, rates: Machines) -> str:
    found = [on(needs, rates._replace(devices=n)) for n in DEVICES]
    bounds = " → ".join(dict.fromkeys(one.bound for one in found))
    cells = [study, machine, *(_long(one.seconds) for one in found), bounds]
    return "| " + " | ".join(cells) + " |"


def _long(seconds: float) -> str:
    days = seconds / 86_400
    return f"{days:,.1f} days" if days >= 2 else duration(seconds)


def main(argv: Sequence[str]) -> None:
    jax.config.update("jax_default_device", jax.devices("cpu")[0])
    streamed = CORES.gflops
    studies = {
        "10⁸ rows × 960 × 15 subsets, `paper`": (rows_needs(strict=False), streamed),
        "10⁸ rows × 960 × 15 subsets, `strict`": (rows_needs(strict=True), streamed),
        "10⁵ seeds of the paper's five regressions": seeds_needs(whole=False),
        "10⁵ seeds of all six tasks": seeds_needs(whole=True),
    }
    lines = []
    for study, (needs, gflops) in studies.items():
        cores = CORES._replace(gflops=gflops)
        lines.append(line(study, f"2 cores, {gflops:.0f} GFLOP/s measured", needs, cores))
        lines.append(line(study, "accelerator, assumed", needs, ACCELERATOR))
    rates = {"read": CORES.gib_per_s, "gflops": ACCELERATOR.gflops, "gib": ACCELERATOR.gib_per_s}
    text = HEAD.format(**rates) + "\n".join(lines) + "\n"
    PAGE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    app.run(main)
