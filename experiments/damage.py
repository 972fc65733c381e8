"""Damages cells of a run in 1,000 ways: is each noticed, told and computed again?

    python experiments/damage.py [--mutations=1000]

A run of three cells is made once. Then, again and again, one of their files is changed: in its line
of checksums, its header or its numbers, a bit is flipped or bytes are cut out, put in or
overwritten; or all of it is cut short, emptied, or exchanged for another cell. `ecjax status` must
not count that cell as done. The next run must name it, compute it alone again, and end in the same
tables and cells. Exits with 1 at the first time that it does otherwise. Takes two minutes.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from absl import app, flags

from ecjax import engine
from ecjax.arrays import align_arrays
from ecjax.cell_file import LINE_BYTES, header_bytes
from ecjax.evaluate import Run
from ecjax.progress import Silent
from ecjax.settings import from_arguments
from ecjax.status import status

MUTATIONS = flags.DEFINE_integer("mutations", 1000, "How many changes are made.", 1)
SEED = flags.DEFINE_integer("seed", 0, "Of the changes.", 0)

SWEPT = {"ridge_lambda": (0.1, 1.0, 10.0)}
TOLD = ("is damaged", "is of another version")


class Said(Silent):
    """Keeps the lines."""

    def __init__(self):
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


class Calls:
    """Counts the calls of the compiled function."""

    def __init__(self):
        self.count, self._study = 0, engine.study
        engine.study = self

    def __call__(self, *arguments):
        self.count += 1
        return self._study(*arguments)


def files_of(folder: Path) -> dict[str, bytes]:
    """Tables and cells, by name."""
    files = [*folder.glob("*.csv"), *folder.glob("*.parquet"), *folder.glob("cells/*.cell")]
    return {file.name: file.read_bytes() for file in sorted(files)}


def mutate(content: bytes, other: bytes, draw: random.Random) -> tuple[str, bytes]:
    """What is changed, in words, and the content then."""
    header = header_bytes(content[:LINE_BYTES], len(content))
    where, (start, stop) = draw.choice(
        [("line", (0, LINE_BYTES)), ("header", (LINE_BYTES, header)),
         ("numbers", (header, len(content)))]
    )  # fmt: skip
    how = draw.choice(["flip", "flip", "flip", "cut", "put in", "overwrite", "end", "whole"])
    place = draw.randrange(start, stop)
    size = draw.randint(1, min(64, stop - place))
    before, after = content[:place], content[place:]
    if how == "flip":
        return f"{where}: {how}", before + bytes([after[0] ^ 1 << draw.randrange(8)]) + after[1:]
    if how == "end":
        return f"{where}: {how}", before
    if how == "whole":
        return f"{how}", draw.choice([b"", other])
    noise = draw.randbytes(size)
    if how == "overwrite" and noise == after[:size]:
        noise = bytes(byte ^ 1 for byte in noise)
    rest = after if how == "put in" else after[size:]
    return f"{where}: {how}", before + (b"" if how == "cut" else noise) + rest


def main(_) -> None:
    draw, rng, calls = random.Random(SEED.value), np.random.default_rng(0), Calls()
    x = {"alpha": rng.normal(size=(60, 3)), "beta": rng.normal(size=(60, 2))}
    tasks = align_arrays(x, {"height": x["alpha"][:, 0] + rng.normal(size=60)})
    settings = from_arguments({"protocol": "paper", "folds": 4})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def run() -> tuple[int, list[str]]:
            said, before = Said(), calls.count
            Run("damage", tasks, settings, SWEPT, said).evaluate(folder)
            return calls.count - before, said.lines

        run()
        expected = files_of(folder)
        cells = [name for name in expected if name.endswith(".cell")]
        if len(cells) != len(SWEPT["ridge_lambda"]) or run()[0]:
            raise SystemExit("FAILED: the undamaged run has not the cells it should")
        kinds: Counter[str] = Counter()
        for number in range(MUTATIONS.value):
            cell, other = draw.sample(cells, 2)
            kind, content = mutate(expected[cell], expected[other], draw)
            (folder / "cells" / cell).write_bytes(content)
            done = status(folder).done
            made, lines = run()
            told = [line for line in lines if cell in line and any(t in line for t in TOLD)]
            same = files_of(folder) == expected
            if (done, made, len(told), same) != (len(cells) - 1, 1, 1, True):
                raise SystemExit(
                    f"FAILED at {number} ({kind} of {cell}): {done} cells done by status, {made} "
                    f"calls, told {told}, files {'equal' if same else 'differ'}"
                )
            kinds[kind] += 1
        for kind, count in sorted(kinds.items()):
            print(f"{count:5}  {kind}")
        print(f"{MUTATIONS.value} changes: all noticed, told, computed again; tables equal")


if __name__ == "__main__":
    app.run(main)
