"""Does the leak guard find what is planted, and is it silent where nothing is?

    python experiments/planted_leaks.py [--out=experiments/planted_leaks.md]

One column more is planted into the real tables released with the paper (in
../shared/data/better_together or where ECJAX_PAPER_DATA points) and into made ones: some 350 leaks
of 40 kinds, see `leak_kinds.py`. Each is read as a user's arrays are. It is refused (an InputError
that names the column), or warned of (a note, and the run goes on), or missed. Then the real tables
and 100 clean ones of every make, see `clean_tables.py`, are read, and no column may be refused or
warned of.

Demanded, or the script exits with 1: no false alarm; every id, row number, coordinate, target,
monotone copy and code of the class refused; every noisy copy with r > 0.999 and every mean of the
target refused or warned of. Takes two minutes on one core.
"""

from __future__ import annotations

import collections
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from absl import app, flags
from clean_tables import clean_table
from leak_kinds import Leak, Rows, leaks_of

import ecjax
from ecjax.arrays import align_arrays

OUT = flags.DEFINE_string("out", "experiments/planted_leaks.md", "Where the table is written.")
CLEAN = flags.DEFINE_integer("clean", 100, "Clean tables.", 1)

REFUSED, WARNED, MISSED = "refused", "warned of", "missed"
MUST_REFUSE = (
    "id, by its name", "id, renamed", "rank of ids that are text", "number in ids that are text",
    "row number", "coordinate", "coordinate in other units", "target",
    "monotone copy of the target", "code of the class", "indicator of a class",
    "target of another task",
)  # fmt: skip
MUST_TELL = (
    "id with noise, r > 0.999", "row number with noise, r > 0.999",
    "coordinate with noise, r > 0.999", "coordinates turned or mixed",
    "target with noise, r > 0.999", "target's mean per category",
    "one-hot of the source, its column named", "code of the class with noise",
    "code of the class, 1 % wrong", "indicator with noise, r > 0.999",
)  # fmt: skip
SAMPLES = {
    "crops": ("cropharvest200", "cropharvest_cleaned_global_threshold-200-sample", "label_name"),
    "biomass": ("biomass", "biomass_cleaned_centre", "biomass_mean"),
}


def real_tables(folder: Path) -> Iterator[Rows]:
    """The two samples with coordinates, by the two embeddings of them that are there."""
    for task, (sample, labels, target) in SAMPLES.items():
        truth = pd.read_csv(folder / f"data/downstream_tasks/{labels}.csv")
        # Where there is no source, cells of 20 degrees stand for countries.
        cells = (truth["lat"] // 20).astype(str) + " " + (truth["lon"] // 20).astype(str)
        truth["source"] = truth.get("dataset_name", cells)
        for name, path in {
            "alphaearth": f"alphaearth_centre/{sample}_alphaearth_centre.csv",
            "geoclip": f"geoclip/{sample}_geoclip.parquet",
        }.items():
            vectors = _vectors(folder / "data" / path)
            here = truth[truth["index"].isin(vectors.index)]
            found = vectors.loc[here["index"]].to_numpy(np.float32)
            columns = (here[c].to_numpy() for c in ("index", "lat", "lon", target, "source"))
            yield Rows(f"{name} of {task}", found, *columns)


def _vectors(path: Path) -> pd.DataFrame:
    """An embedding's table by id."""
    table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    return table.set_index("id")


def made_tables() -> Iterator[Rows]:
    """Smooth in place; of heavy tails, with classes; quantised; small, with a skewed target. Each
    with sources in the order of the ids."""
    for number in (30, 34, 61, 17):
        rows = clean_table(number)
        rank = np.argsort(np.argsort(rows.ids)) / len(rows.ids)
        source = np.searchsorted([0.1, 0.25, 0.45, 0.7], rank)
        yield rows._replace(name=f"made, {rows.name}", source=source.astype(str).astype(object))


def verdict(rows: Rows, leak: Leak | None) -> tuple[str, list[str]]:
    """What becomes of a planted column, and which columns the guard names beside it."""
    names = [f"emb_{j}" for j in range(rows.vectors.shape[1])]
    table = pd.DataFrame(rows.vectors, columns=names)
    planted = []
    if leak is not None:
        for values in np.reshape(leak.column, (len(table), -1)).T:
            planted.append(leak.name or f"emb_{table.shape[1]}")
            table[planted[-1]] = values
    tasks = {"height": task_of(rows, leak)}
    if leak is not None and leak.another is not None:
        tasks["another"] = ecjax.Task(leak.another, id=tasks["height"].id)
    try:
        aligned = align_arrays({"model": table}, tasks)
    except ecjax.InputError as error:
        found = [name for name in table.columns if f'"{name}"' in str(error)]
        return REFUSED, [name for name in found if name not in planted]
    warned = {one.column for task in aligned for one in task.suspects["model"]}
    own = WARNED if warned & set(planted) else MISSED
    return own, sorted(warned - set(planted))


def task_of(rows: Rows, leak: Leak | None) -> ecjax.Task:
    known = leak is not None and leak.known
    ids = rows.ids if leak is None or leak.ids is None else leak.ids
    group = rows.source if known else None
    return ecjax.Task(rows.y, id=ids, lat=rows.lat, lon=rows.lon, group=group)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"no such argument: {argv[1]}")
    beside = Path(__file__).resolve().parents[2] / "shared/data/better_together"
    real = list(real_tables(Path(os.environ.get("ECJAX_PAPER_DATA") or beside)))
    found, faults = collections.defaultdict(collections.Counter), []
    for number, rows in enumerate([*real, *made_tables()]):
        for leak in leaks_of(rows, np.random.default_rng(number)):
            what, others = verdict(rows, leak)
            found[leak.kind][what] += 1
            if others:
                faults.append(f"{rows.name}, {leak.kind}: also {', '.join(others[:5])}")
            if what == MISSED or (what == WARNED and leak.kind in MUST_REFUSE):
                print(f"{what}: {leak.kind} in {rows.name}", flush=True)
    clean = [*real, *(clean_table(number) for number in range(CLEAN.value))]
    alarms = []
    for rows in clean:
        what, others = verdict(rows, None)
        if what == REFUSED or others:
            alarms.append(f"{rows.name}: {what} {', '.join(others[:5])}")
    text = _page(found, len(real), CLEAN.value, alarms + faults)
    Path(OUT.value).write_text(text, encoding="utf-8")
    print(text)
    lacking = [k for k in MUST_REFUSE if found[k][WARNED] + found[k][MISSED]]
    lacking += [k for k in MUST_TELL if found[k][MISSED]]
    for kind in lacking:
        print(f"NOT MET: {kind}")
    sys.exit(1 if lacking or alarms or faults else 0)


def _page(found, real: int, clean: int, alarms: list[str]) -> str:
    total = sum(found.values(), collections.Counter())
    lines = [
        "# Planted leaks: which does the guard find?\n",
        f"By `python experiments/planted_leaks.py`: {total.total()} leaks, one at a time, in "
        f"{real} real tables and 4 made ones: {total[REFUSED]} refused, {total[WARNED]} warned "
        f"of, {total[MISSED]} missed. False alarms in {real} real and {clean} clean made tables, "
        f"and beside what was planted: {len(alarms)}.\n",
        f"| kind | {REFUSED} | {WARNED} | {MISSED} |",
        "|---|---|---|---|",
    ]
    for kind, counts in found.items():
        cells = " | ".join(str(counts[what] or "") for what in (REFUSED, WARNED, MISSED))
        lines.append(f"| {kind} | {cells} |")
    return "\n".join([*lines, *(f"\nFalse alarm: {alarm}" for alarm in alarms)]) + "\n"


if __name__ == "__main__":
    app.run(main)
