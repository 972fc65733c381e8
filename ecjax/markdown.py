"""Tables as Markdown, in the form that GitHub, pandoc and notebooks know; every name harmless."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ecjax.layout import FIRST_STRONG_ISOLATE, POP_ISOLATE, Entry, Sheet

# Whatever could start markup, a link, a mention, a formula, an emoji or another cell.
ESCAPES = str.maketrans(
    {letter: f"\\{letter}" for letter in "\\`*_{}[]#|~$@^="}
    | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
    | {FIRST_STRONG_ISOLATE: "&#8296;", POP_ISOLATE: "&#8297;"}
)


def document(name: str, about: str, sheets: Sequence[Sheet]) -> str:
    """The text of a file of tables.

    Args:
      name: of the study.
      about: what was run.
      sheets: the tables.
    """
    parts = [f"# {escape(name)}\n\n{escape(about)}\n"]
    return "\n".join(parts + [_table(sheet) for sheet in sheets])


def escape(text: str) -> str:
    """A printable text as Markdown that shows it."""
    # Before a space a colon is one: no address and no emoji begins with it.
    return re.sub(r":(?=\S)", r"\:", text.translate(ESCAPES)).replace("www.", "www\\.")


def _table(sheet: Sheet) -> str:
    names, metrics = zip(*sheet.columns, strict=True)
    rows = [
        ["Set", *map(escape, names)],
        [":--", *["--:"] * len(names)],
        ["", *map(escape, metrics)],
    ]
    rows += [[escape(label), *map(_cell, row)] for label, row in sheet.rows]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    notes = [escape(text) for text in (sheet.caption, sheet.more) if text]
    return "\n".join([f"## {escape(sheet.title)}", "", *lines, "", *notes, ""])


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return ""
    value = f"**{entry.value}**" if entry.best else entry.value
    star = "\\*" if entry.significant else ""
    error = f" ± {entry.error}" if entry.error else ""
    interval = f" [{entry.low}, {entry.high}]" if entry.low else ""
    return f"{value}{star}{error}{interval}"
