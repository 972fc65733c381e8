"""The table, the picture and the verdicts of `coverage.py`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

FAMILY_WISE = ("four blocks", "many targets", "redundant 12 + 12 n = 800")  # looked at all at once
MANY = 800  # rows, from which on more is demanded
NOTHING = "no signal"  # the world where every gain is 0, in intervals of a hundredth


class Demand(NamedTuple):
    """One thing that must hold.

    Attributes:
      says: it.
      of: the rows of the table that it is about.
      figure: their figure.
      holds: whether it is as it should be.
    """

    says: str
    of: Callable[[Mapping], bool]
    figure: str
    holds: Callable[[float], bool]


def _maps(row: Mapping) -> bool:
    return "map" in row["world"]


def _regression(row: Mapping) -> bool:
    return not row["classes"] and not _maps(row)


DEMANDS = (
    Demand(
        "gains over singles are covered in 91 % or more where n ≥ 800",
        lambda row: _regression(row) and row["rows"] >= MANY, "gains", lambda x: x >= 0.91,
    ),
    Demand(
        "and in 98.5 % or less, where there is something to know",
        lambda row: _regression(row) and row["rows"] >= MANY and row["world"] != NOTHING, "gains",
        lambda x: x <= 0.985,
    ),
    Demand(
        "gains over singles are covered in 90 % or more where n = 200",
        lambda row: _regression(row) and row["rows"] < MANY, "gains", lambda x: x >= 0.9,
    ),
    Demand("the index is covered in 93 % or more where rows are independent",
           _regression, "index", lambda x: x >= 0.93),
    Demand("false claims are 4 % or fewer", lambda _: True, "false_claims", lambda x: x <= 0.04),
    Demand(
        "power at an index of 0.06 is 80 % or more",
        lambda row: row["world"] == "index of 0.06", "power", lambda x: x >= 0.8,
    ),
    Demand(
        "the bias of gains is 0.003 or less where n ≥ 800",
        lambda row: _regression(row) and row["rows"] >= MANY, "gains_bias", lambda x: x <= 0.003,
    ),
    Demand("gains of classes are covered in 90 % or more",
           lambda row: row["classes"] > 0, "gains", lambda x: x >= 0.9),
    Demand("the index of classes is covered in 90 % or more",
           lambda row: row["classes"] > 0, "index", lambda x: x >= 0.9),
    Demand("all indices of a table are covered in 93 % or more",
           lambda _: True, "family_wise", lambda x: x >= 0.93),
    Demand("on the same map gains are covered in 92 % or more",
           lambda row: row["world"] == "same map", "gains", lambda x: x >= 0.92),
    Demand("over maps, gains are covered in 91 % to 98 % by blocks of four ranges",
           lambda row: row["world"] == "maps, blocks of 4 ranges", "gains",
           lambda x: 0.91 <= x <= 0.98),
)  # fmt: skip
COLUMNS = {
    "gains": "gains covered",
    "gains_worst": "worst",
    "gains_bias": "bias",
    "gains_width": "width",
    "index": "index covered",
    "index_worst": "worst",
    "index_bias": "bias",
    "false_claims": "false claims",
    "power": "power",
    "family_wise": "all at once",
}
SHARES = {"gains", "gains_worst", "index", "index_worst", "false_claims", "power", "family_wise"}


INTRODUCTION = """
By `{command}`: `--protocol=strict`, `--interval={kind}`; 95 % is promised. Worlds are those of
`planted.py` and `planted_maps.py`; where their names say nothing else they have 800 rows, 12 + 12
columns and 10 folds, and classes are fitted with C = 0.1. Gains are those over each single, the
index is that of every set; `worst` is that of the worst pair or set, `bias` the largest, without
its sign, `width` the median of the gains' intervals. A false claim is a lower end of the index
above 0 where it is not, power the share of such ends where it is; `all at once` the share of tables
whose simultaneous intervals all hold.
"""


def number(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if name in SHARES else f"{value:.3f}"


def truth(row: Mapping) -> str:
    """The true indices."""
    low, high = (f"{value:+.3f}" for value in row["truth"])
    return low if low == high else f"{low} to {high}"


def line(row: Mapping) -> str:
    """Of the table."""
    figures = (number(name, row[name]) for name in COLUMNS)
    return f"| {row['world']} | {row['worlds']:,} | {truth(row)} | {' | '.join(figures)} |"


def missed(rows: Sequence[Mapping]) -> list[str]:
    """Demands that are not met, and where."""
    found = []
    for demand in DEMANDS:
        for row in rows:
            value = row[demand.figure]
            if demand.of(row) and value is not None and not demand.holds(value):
                found.append(f"{row['world']}: {number(demand.figure, value)}; {demand.says}")
    return found


def write(rows: Sequence[Mapping], out: Path, command: str, kind: str) -> list[str]:
    """The table, beside it the picture and all figures; returns what `missed` does."""
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    picture(rows, out.with_suffix(".png"))
    of_gains = [row["gains"] for row in rows if _regression(row)]
    failed = missed(rows)
    text = [
        "# How often the intervals hold",
        "",
        INTRODUCTION.format(command=command, kind=kind).strip(),
        "",
        f"| world | draws | true index | {' | '.join(COLUMNS.values())} |",
        "|---|---|---|" + "---|" * len(COLUMNS),
        *map(line, rows),
        "",
    ]
    if of_gains:
        mean = sum(of_gains) / len(of_gains)
        text += [f"Gains of independent rows on average: {100 * mean:.1f} % (94 % to 97 %)."]
        if not 0.94 <= mean <= 0.97:
            failed.append("the average is not")
    text += ["", *[f"- {demand.says}" for demand in DEMANDS], ""]
    text += ["Not met:", "", *[f"- {one}" for one in failed]] if failed else ["All of it is met."]
    text += ["", f"![Coverage by world]({out.with_suffix('.png').name})", ""]
    out.write_text("\n".join(text))
    return failed


def picture(rows: Sequence[Mapping], out: Path) -> None:
    """Coverage of gains and of the index, world by world."""
    figure, axes = plt.subplots(figsize=(8, 0.24 * len(rows) + 1.2))
    place = range(len(rows))[::-1]
    axes.axvline(95, color="0.7", zorder=0)
    marks = (("gains", "o", "#0072b2"), ("index", "D", "#d55e00"))  # told apart by shape too
    for name, mark, colour in marks:
        values = [100 * row[name] for row in rows]
        axes.plot(values, place, mark, color=colour, markersize=4, label=name)
    axes.set_yticks(place, [row["world"] for row in rows], fontsize=7)
    axes.set_xlabel("intervals that hold the truth, %")
    axes.legend(loc="lower left", fontsize=7)
    axes.grid(axis="y", color="0.93")
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)
