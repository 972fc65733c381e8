"""The picture of the index: one inline SVG per task, drawn without any library.

Colours come from classes which the page styles, so that dark pages and paper need no second one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from ecjax.digest import Cell, TaskView, index_text
from ecjax.errors import neutral

WIDTH = 760
ROW = 24
TOP = 6
AXIS = 26
LETTER = 7.7  # width of a letter at 12 px, a little on the safe side
LABEL_LETTERS = 44
VALUE_LETTERS = 8
LIMIT = 1.0  # bars beyond ±1 are cut there; their value is still written
SETS = 40
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def index_picture(task: TaskView, has_truth: bool, key: str) -> str:
    """Horizontal bars of the index of each fused set, best first; "" where none is defined.

    Args:
        task: its cells are shown, at most the 40 with the largest index.
        has_truth: whether a mark shows the true index, and the value is written with it.
        key: makes the ids of this picture unique on its page.
    """
    cells = [cell for cell in task.cells if not math.isnan(cell.value)]
    cells = sorted(cells, key=lambda cell: -cell.value)[:SETS]
    if not cells:
        return ""
    label = LETTER * max(min(len(neutral(cell.subset)), LABEL_LETTERS) for cell in cells) + 12
    room = LETTER * VALUE_LETTERS * (2 if has_truth else 1) + 12
    low, high = _range(cells)

    def x(value: float) -> float:
        inside = min(max(value, low), high)
        return label + room + (WIDTH - label - 2 * room) * (inside - low) / (high - low)

    height = TOP + ROW * len(cells) + AXIS
    parts = [
        f'<svg class="index" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-labelledby="{key}-t {key}-d">',
        f'<title id="{key}-t">Complementarity index on {_safe(task.name)}</title>',
        f'<desc id="{key}-d">{_description(cells, has_truth)}</desc>',
        *(_tick(x(value), value, height) for value in _ticks(low, high)),
        *(_bar(cell, x, TOP + ROW * i, label, has_truth) for i, cell in enumerate(cells)),
        f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{TOP}" y2="{height - AXIS}"/>',
        "</svg>",
    ]
    return "\n".join(parts)


def _range(cells: Sequence[Cell]) -> tuple[float, float]:
    numbers = [v for cell in cells for v in (cell.value, cell.true, cell.low, cell.high)]
    values = [v for v in numbers if not math.isnan(v)]
    low, high = max(min(values), -LIMIT), min(max(values), LIMIT)
    return min(low, 0.0), max(high, 0.02)


def _ticks(low: float, high: float) -> list[float]:
    step = next((s for s in STEPS if (high - low) / s <= 6), STEPS[-1])
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _tick(x: float, value: float, height: int) -> str:
    bottom = height - AXIS
    return (
        f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
        f'<text class="axis" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{value:.2g}</text>'
    )


def _bar(cell: Cell, x: Callable[[float], float], y: float, label: float, has_truth: bool) -> str:
    zero, end = x(0), x(cell.value)
    holds = cell.low <= 0 <= cell.high if cell.low == cell.low else not cell.significant
    kind = ("gain" if cell.value >= 0 else "loss") + (" pale" if holds else "")
    true = x(cell.true) if has_truth and not math.isnan(cell.true) else None
    whisker = [] if math.isnan(cell.low) else [x(cell.low), x(cell.high)]
    ends = [end, *whisker, *([] if true is None else [true])]
    side = max(ends) + 7 if cell.value >= 0 else min(ends) - 7
    anchor = "start" if cell.value >= 0 else "end"
    middle = y + ROW / 2
    parts = [
        f"<g><title>{_safe(cell.subset)}: {_value(cell, has_truth)}</title>",
        f'<text x="{label - 8:.1f}" y="{middle + 4}" text-anchor="end">{_label(cell.subset)}'
        "</text>",
        f'<rect class="{kind}" x="{min(zero, end):.1f}" y="{y + 4}" '
        f'width="{max(abs(end - zero), 1):.1f}" height="{ROW - 8}"/>',
        f'<text class="value" x="{side:.1f}" y="{middle + 4}" text-anchor="{anchor}">'
        f"{_value(cell, has_truth)}</text>",
    ]
    if whisker:
        a, b = whisker
        parts.append(f'<path class="whisker" d="M{a:.1f} {middle}H{b:.1f}"/>')
    if true is not None:
        parts.append(f'<path class="true" d="M{true:.1f} {middle - 6}l5 6l-5 6l-5 -6z"/>')
    return "".join(parts) + "</g>"


def _value(cell: Cell, has_truth: bool) -> str:
    return index_text(cell, has_truth).rstrip()


def _label(subset: str) -> str:
    """The set's name, cut; each model's name keeps its own writing direction."""
    text = neutral(subset)
    text = text if len(text) <= LABEL_LETTERS else text[: LABEL_LETTERS - 1] + "…"
    return "+".join(f'<tspan class="name">{escape(name)}</tspan>' for name in text.split("+"))


def _description(cells: Sequence[Cell], has_truth: bool) -> str:
    texts = [f"{_safe(cell.subset)} {_value(cell, has_truth)}" for cell in cells]
    return f"Bars, largest first: {'; '.join(texts)}. A star marks an adjusted p below 0.05."


def _safe(name: str) -> str:
    return escape(neutral(name))
