"""Tables of the HTML page: sorted and filtered by its script, long ones with most rows as data.

The first rows are HTML, the others JSON beside it, from which the script makes rows when they are
asked for. Every text in either is neutral and escaped; the script only ever sets text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

import pandas as pd

from ecjax.errors import neutral
from ecjax.rounding import measured, number

FIRST = 50  # rows that are HTML
MOST = 2_000  # rows of one table; whoever wants more takes the CSV
STYLES = {"number": "", "set": "words sets", "text": "words long", "name": "words"}  # of cells
TINY = 0.0001  # a p below is told as such


class Cell(NamedTuple):
    """A cell: its text, what stands below in small print, and a class that colours it."""

    text: str
    small: str = ""
    style: str = ""


class Column(NamedTuple):
    """A column.

    Attributes:
      title: plain text.
      kind: "number"; "set", whose text is names joined by +; "text"; or "name", a text kept on
        one line.
      small: further lines below the title.
    """

    title: str
    kind: str = "number"
    small: tuple[str, ...] = ()


Row = Sequence[str | Cell]


def framed(svg: str, title: str, caption: str) -> str:
    """A figure that scrolls within itself on narrow screens, where its text would be too small.

    Args:
      svg, caption: HTML.
      title: plain text.
    """
    region = f'<div class="wide" role="region" tabindex="0" aria-label="figure: {safe(title)}">'
    return f"<figure>\n{region}{svg}</div>\n<figcaption>{caption}</figcaption></figure>"


def mark(name: object) -> str:
    """A name as HTML: escaped, and with a writing direction of its own."""
    return f"<bdi>{escape(neutral(name))}</bdi>"


def safe(name: object) -> str:
    """A name as HTML where no element may stand: in attributes, titles and descriptions."""
    return escape(neutral(name))


def set_html(subset: str) -> str:
    """The names of a set; lines may end between them."""
    return "+<wbr>".join(mark(name) for name in subset.split("+"))


def table(
    key: str,
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    label: str = "",
    file: str = "",
    first: int = FIRST,
    total: int | None = None,
    tools: bool = True,
    style: str = "",
) -> str:
    """A table as HTML; "" where there are no rows.

    Args:
      key: unique on the page.
      caption: HTML.
      columns: the first one names the row.
      rows: best first; only the first `MOST` are taken.
      label: plain text that names the table to a screen reader.
      file: where all rows are, if these are not.
      total: how many they are; None: as many as `rows`.
      first: how many rows are HTML at once.
      tools: whether it can be sorted and filtered.
      style: a class.
    """
    if not len(rows):
        return ""
    kept = rows[:MOST]
    total = len(rows) if total is None else total
    more = (
        f" {len(kept):,} of {total:,} rows; all are in {safe(file)}." if total > len(kept) else ""
    )
    first = first if len(kept) > 1.5 * first else max(first, len(kept))  # hiding a few is no help
    hidden = len(kept) - first
    shown = f" <span class=first>The first {first:,} of {len(kept):,}.</span>" if hidden > 0 else ""
    name = safe(label or key)
    parts = [
        f'<div class="table{" tools" if tools else ""}{f" {style}" if style else ""}" id="{key}" '
        f'data-first="{first}" data-total="{len(kept)}">',
        f'<p class="note" id="{key}-about">{caption}{more}{shown}</p>',
        f'<div class="wide" role="region" tabindex="0" aria-label="{name}">',
        f'<table aria-describedby="{key}-about"><caption>{name}</caption>',
        f"<thead><tr>{''.join(map(_head, columns))}</tr></thead>",
        "<tbody>",
        *(_row_html(columns, row) for row in kept[:first]),
        "</tbody></table></div>",
    ]
    if hidden > 0:
        parts.append(f'<script type="application/json">{_data(columns, kept[first:])}</script>')
    return "\n".join([*parts, "</div>"])


def _head(column: Column) -> str:
    small = "".join(f"<small>{mark(line)}</small>" for line in column.small)
    title = set_html(column.title).replace("_", "_<wbr>")
    return f'<th scope="col" data-kind="{column.kind}"><span>{title}</span>{small}</th>'


def _row_html(columns: Sequence[Column], row: Row) -> str:
    cells = [_cell_html(c, v) for c, v in zip(columns[1:], row[1:], strict=True)]
    name = _text_html(columns[0], _as_cell(row[0]).text)
    return f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>'


def _cell_html(column: Column, value: str | Cell) -> str:
    cell = _as_cell(value)
    small = f"<small>{safe(cell.small)}</small>" if cell.small else ""
    styles = " ".join(filter(None, (STYLES[column.kind], cell.style)))
    style = f' class="{styles}"' if styles else ""
    return f"<td{style}>{_text_html(column, cell.text)}{small}</td>"


def _text_html(column: Column, text: str) -> str:
    if column.kind == "set":
        return set_html(text) if text else ""
    return safe(text) if column.kind == "number" else mark(text)


def _as_cell(value: str | Cell) -> Cell:
    return value if isinstance(value, Cell) else Cell(value)


def _data(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """Rows as JSON: numbers as their texts, words by their place in a list of words."""
    words: dict[str, int] = {}

    def packed(column: Column, value: str | Cell):
        cell = _as_cell(value)
        text = neutral(cell.text)
        if column.kind != "number":
            return words.setdefault(text, len(words))
        whole = cell.small or cell.style
        return [text, neutral(cell.small), cell.style] if whole else text

    packed_rows = [[packed(c, v) for c, v in zip(columns, row, strict=True)] for row in rows]
    return as_data({"words": list(words), "rows": packed_rows})


def as_data(value: object) -> str:
    """JSON that may stand in a `script` element, whatever its texts are."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def p_text(p: float | None) -> str:
    """A p-value; a tiny one is no zero."""
    return f"< {TINY:.4f}" if p is not None and p < TINY else number(p, 4)


def count(value: float | None) -> str:
    """A whole number."""
    return "-" if value is None or pd.isna(value) else f"{int(value):,}"


def interval(low: float, high: float, value: float = math.nan, signed: bool = True) -> str:
    """ "+0.19 to +0.21", to the digits that it allows; "" where undefined."""
    if pd.isna(low) or pd.isna(high):
        return ""
    return " to ".join(measured(value, low, high, signed)[1:])


def with_interval(value: float, low: float, high: float, signed: bool = True) -> Cell:
    """A number with its interval in small print."""
    text, *ends = measured(value, low, high, signed)
    return Cell(text, "" if low != low or high != high else " to ".join(ends))


def largest_first(frame: pd.DataFrame, columns: str | list[str]) -> pd.DataFrame:
    """Sorted, undefined last; of equals the earlier first."""
    return frame.sort_values(columns, ascending=False, kind="stable", na_position="last")


def text_of(value: object) -> str:
    """A text; "" where null."""
    return "" if pd.isna(value) else str(value)


def joined(parts: Iterable[str]) -> list[str]:
    """Those that are not empty."""
    return [part for part in parts if part]
