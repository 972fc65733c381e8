"""Does a λ for each embedding (`--penalty=banded`) lose against one for all, and where does it win?

    python experiments/penalties.py [--out=experiments/penalties.md]

The regression worlds of `planted.py` with at least 800 rows, and worlds where 512 columns of noise
stand beside 32 that know something. Each task is fitted twice under `strict`, with a λ chosen
inside for all embeddings of the full set and with one for each. Writes a Markdown table of the
differences in pooled R² and exits with 1 if a mean is below −0.005, or below 0.02 where 512 columns
are noise. Standard errors take tasks as independent, though those of one draw share its embeddings.

Expect: 0.1 to 0.3 won from noise of 512, and at worst 0.003 lost, of four equal embeddings at
n = 500 and R² = 0.2, where one λ for all is right. Takes about five minutes on 2 cores.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from absl import app, flags
from planted import World, named_worlds

import ecjax

OUT = flags.DEFINE_string("out", "experiments/penalties.md", "Where the table is written.")

TASKS = 40  # of a world, or a few more, from as many draws as that takes
LEAST, LEAST_IN_NOISE = -0.005, 0.02
HEAD = f"""\
# One λ for each embedding against one for all

By `python experiments/penalties.py`. Planted worlds, about {TASKS} tasks each; pooled R² of the
full set under `strict`, mean over tasks; of the difference also its standard error and the worst
task. Demanded of the mean: at least {LEAST}, and {LEAST_IN_NOISE} where 512 columns are noise.

| world | n | widths | R²: one for all | one for each | difference | worst task | demanded |
|---|---|---|---|---|---|---|---|
"""


def noisy_worlds() -> dict[str, World]:
    """Where the wide embedding is noise."""
    found = {f"noise of 512 n = {n}": World("useless", n, (32, 512)) for n in (500, 800, 3000)}
    four = World("four", 800, (32, 32, 32, 512), tasks=10)
    return found | {"four blocks, noise of 512": four}


def calm_worlds() -> dict[str, World]:
    """Regression with at least 800 rows, and worlds of 500 rows where choices are hardest."""
    found = {
        name: world
        for name, world in named_worlds().items()
        if world.rows >= 800 and not world.classes
    }
    few = {"a of 512, noise of 32": World("useless", 500, (512, 32))}
    few["R² = 0.1 n = 500"] = World("complementary", 500, r2=0.1)
    for kind in ("complementary", "tied"):
        few[f"{kind} 64 + 128 n = 500"] = World(kind, 500, (64, 128))
    few["equal 64 + 64 n = 500"] = World("equal", 500, (64, 64))
    few["equal 64 + 64 R² = 0.2 n = 500"] = World("equal", 500, (64, 64), r2=0.2)
    for rows in (500, 800, 3000):
        few[f"equal 4 × 32 n = {rows}"] = World("equal", rows, (32,) * 4)
    few["equal 4 × 32 R² = 0.2 n = 500"] = World("equal", 500, (32,) * 4, r2=0.2)
    few["equal 4 × 12 n = 500"] = World("equal", 500, (12,) * 4)
    return found | few


def pooled(world: World, rng: np.random.Generator) -> np.ndarray:
    """(2, tasks) R² of the full set with one λ for all, and with one for each, of one draw."""
    drawn = world.draw(rng, world.rows)
    tasks = {f"task{i:02d}": y for i, y in enumerate(drawn.targets)}
    whole = "+".join(drawn.embeddings)
    found = []
    for penalty in ("shared", "banded"):
        result = ecjax.evaluate(
            drawn.embeddings, tasks, penalty=penalty, folds=world.folds, subsets=[whole]
        )
        scores = result.scores.query("subset == @whole and metric == 'r2'")
        found.append(scores.set_index("task").loc[list(tasks), "pooled"].to_numpy(float))
    return np.array(found)


def row(name: str, world: World, least: float, number: int) -> tuple[str, bool]:
    """The world's line of the table, and whether what is demanded holds."""
    draws = -(-TASKS // world.tasks)
    shared, banded = np.hstack(
        [pooled(world, np.random.default_rng([number, draw])) for draw in range(draws)]
    )
    more = banded - shared
    error = more.std(ddof=1) / np.sqrt(len(more))
    holds = bool(more.mean() >= least)
    cells = [
        name,
        f"{world.rows:,}",
        " + ".join(map(str, world.widths)),
        f"{shared.mean():.3f}",
        f"{banded.mean():.3f}",
        f"{more.mean():+.4f} ± {error:.4f}",
        f"{more.min():+.3f}",
        f"≥ {least}" + ("" if holds else " **missed**"),
    ]
    return "| " + " | ".join(cells) + " |", holds


def main(_) -> None:
    started, noisy, lines, kept = time.perf_counter(), noisy_worlds(), [], True
    for number, (name, world) in enumerate((noisy | calm_worlds()).items()):
        line, holds = row(name, world, LEAST_IN_NOISE if name in noisy else LEAST, number)
        print(f"{time.perf_counter() - started:5.0f} s {line}", flush=True)
        lines.append(line)
        kept = kept and holds
    Path(OUT.value).write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(not kept)


if __name__ == "__main__":
    app.run(main)
