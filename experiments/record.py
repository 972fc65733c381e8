"""What `benchmark.py` measured, kept as JSON, written as Markdown tables and as one picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  (the backend must be chosen first)

HEAD = """\
# Benchmark

`python experiments/benchmark.py` wrote this page; {picture} shows the ratios. Each table was
measured in one run, rivals and ecjax side by side, as medians; where a rival was measured on a part
of the work and scaled, the column `measured` says so. A ratio is the rival's seconds over ecjax's,
warm. Where a step was run by itself, it comes with ecjax's seconds of that very run.
"""
PARTS = {
    "ridge": """\
## Ridge on the paper's shapes
lc_stratified 8,829 × 960 (9 + 1 targets in two tasks), random 8,925 × 960 (19 + 1), biomass
4,575 × 960 (1): 15 subsets × 20 folds, λ = 1, float64. ecjax's seconds are a whole
`ecjax.evaluate`, from arrays to tables; rivals get the standardised table ready-made. The floor is
Σ over samples of (n·p² + 20·4.64e8 + 2·n·7,680·t) FLOP at the faster of the two GEMM rates.""",
    "logistic": """\
## Logistic regression on real crops
3,596 rows, 18 classes, 20 folds, C = 1; alphaearth (64), geoclip (512), both (576). Evaluations are
pairs of matrix products a fold, mean of 20. Gradient norms are
‖∇(mean log-loss + ‖W‖²/(2·C·n_train))‖∞, recomputed from the coefficients. scikit-learn's seconds
are those of its fits alone, divided by the number of processes as if no core ever waited.""",
    "seeds": """\
## More seeds
3,500 × 960, one target, 15 subsets, 20 folds, unless another shape is given.""",
    "scaling": """\
## How the time grows
One ridge study each, warm, one axis varied. The exponent is the slope of log seconds.""",
    "plan": """\
## The plan's estimate
What `ecjax plan` says against the time measured, warm.""",
    "memory": """\
## Memory
Largest resident memory of a fresh process that holds the data and runs the study.""",
    "bootstrap": """\
## Bootstraps of scores, and refits
The paper's study (15 subsets × 6 tasks: 8,829 × (9 + 1 targets), 8,925 × (19 + 1), 4,575 × 1 and
3,596 rows of 18 classes) is fitted; what is measured is making all tables, with intervals of every
set, gain, index, Shapley value and single target, in closed form and from replicates. Refits: of
3,500 × 960, one target, 15 subsets, 20 folds, `strict`, everything fitted once already.""",
    "cold": """\
## Cold start
Fresh process, 15 subsets × 6 tasks shaped as the demo's (2,000 rows a sample).""",
    "store": """\
## Cells kept in a directory
A whole `ecjax.evaluate`, warm, without and with `out`: hashing of rows, cells, progress and the
files of the tables. Medians of runs in turns.""",
    "strict": """\
## Choosing penalties inside
`strict`: 20 folds, the default grids, a whole `ecjax.evaluate` from arrays to tables; ridge on 15
subsets of 512 + 256 + 128 + 64 columns. A first call of over a minute stands for warm ones.""",
}
DISTURBED = 0.05  # share of the CPU time that makes figures doubtful
INK, ACCENT, GREY = "#22313f", "#1f77b4", "#9aa5b1"


class Record:
    """Rows by part and step; a step measured again replaces its rows and no others."""

    def __init__(self, stem: Path, order: list[str]):
        """Reads what is there; `order` is that of "part/step" on the page."""
        self.stem = stem
        self.order = order
        file = stem.with_suffix(".json")
        self.steps: dict[str, dict] = json.loads(file.read_text("utf-8")) if file.exists() else {}

    def keep(self, step: str, rows: list[dict], machine: dict[str, Any]) -> None:
        """Stores the rows of a step and writes all three files."""
        self.steps[step] = {"machine": machine, "rows": rows}
        self.stem.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.steps, indent=1, ensure_ascii=False)
        self.stem.with_suffix(".json").write_text(text + "\n", "utf-8")
        self.stem.with_suffix(".md").write_text(self.markdown(), "utf-8")
        self.picture(self.stem.with_suffix(".png"))

    def rows(self, part: str) -> list[dict]:
        """All rows of a part."""
        return [row for name in self._names(part) for row in self.steps[name]["rows"]]

    def _names(self, part: str) -> list[str]:
        return [name for name in self.order if name.startswith(f"{part}/") and name in self.steps]

    def markdown(self) -> str:
        """The page."""
        lines = [HEAD.format(picture=f"`{self.stem.name}.png`"), *self._machine()]
        for part, text in PARTS.items():
            if not self._names(part):
                continue
            lines += ["", text, ""]
            tables: dict[tuple, list[dict]] = {}
            for row in self.rows(part):
                tables.setdefault(tuple(row), []).append(row)
            for columns, rows in tables.items():
                lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
                lines += ["| " + " | ".join(map(_cell, row.values())) + " |" for row in rows]
                lines.append("")
        return "\n".join(lines).rstrip() + "\n"

    def _machine(self) -> list[str]:
        """One line for each machine that steps ran on; GEMM rates as a range over the runs."""
        lines = []
        seen: dict[str, list[dict]] = {}
        disturbed = []
        for name in self.steps:
            facts = dict(self.steps[name]["machine"])
            rates = facts.pop("gemm")
            others = facts.pop("others")
            if others > DISTURBED:
                disturbed.append(f"{name} ({others:.0%})")
            seen.setdefault(json.dumps(facts, sort_keys=True), []).append(rates)
        if disturbed:
            lines.append(
                f"Other processes took more than {DISTURBED:.0%} of the CPU time during these "
                f"steps, whose figures are doubtful: {', '.join(disturbed)}.\n"
            )
        for text, rates in seen.items():
            facts = json.loads(text)
            measured = sorted({key for rate in rates for key in rate})
            gemm = "; ".join(
                f"{key} {_span([rate[key] / 1e9 for rate in rates if key in rate])}"
                for key in measured
            )
            versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
            lines.append(
                f"Machine: {facts['device']}; {facts['cores']} cores of {facts['processor']}, "
                f"{facts['memory_gib']} GiB; {'; '.join(facts['blas'])}. 4,096³ GEMM, GFLOP/s: "
                f"{gemm or 'not measured'}. {versions}."
            )
        return lines

    def picture(self, file: Path) -> None:
        """Ratios as bars, and time against size."""
        figure, (left, right) = pyplot.subplots(
            1, 2, figsize=(11, 5), width_ratios=[3, 2], layout="constrained"
        )
        bars = [
            (f"{part}: {row['way']}", row["ratio"], row.get("goal"))
            for part in ("ridge", "logistic", "seeds", "strict")
            for row in self.rows(part)
            if isinstance(row.get("ratio"), float) and row["ratio"] != 1
        ]
        for place, (_, ratio, goal) in enumerate(reversed(bars)):
            left.barh(place, ratio, color=ACCENT, height=0.6)
            left.text(ratio * 1.05, place, f"{ratio:.3g} ×", va="center", color=INK, fontsize=8)
            if isinstance(goal, int | float):
                left.plot([goal, goal], [place - 0.4, place + 0.4], color=INK, linewidth=1.5)
        left.set_yticks(range(len(bars)), [label for label, *_ in reversed(bars)], fontsize=8)
        left.set_xscale("log")
        ratios = [ratio for _, ratio, _ in bars]
        left.set_xlim(min([1, *(ratio / 2 for ratio in ratios)]), 2.5 * max(ratios, default=10))
        left.set_title("rival's seconds ÷ ecjax's (line: goal)", fontsize=10, color=INK)
        for row in self.rows("scaling"):
            label = f"{row['axis']} ({row['exponent']:.2f})"
            right.loglog(row["values"], row["seconds"], marker="o", markersize=3, label=label)
        if self.rows("scaling"):
            right.legend(fontsize=8, frameon=False)
        right.set_title("ridge: seconds, and exponents", fontsize=10, color=INK)
        for axis in (left, right):
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(colors=INK)
            axis.grid(axis="x", color=GREY, alpha=0.3)
        figure.savefig(file, dpi=110, metadata={"Software": None})
        pyplot.close(figure)


def line(row: dict) -> str:
    """A row as one line of progress."""
    return ", ".join(f"{column}: {_cell(value)}" for column, value in row.items())


def _span(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.0f}" if high - low < 1 else f"{low:.0f}–{high:.0f}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if isinstance(value, bool | str):
        return str(value).replace("|", "\\|")
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:.1e}"
