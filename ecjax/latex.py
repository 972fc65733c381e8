r"""Tables as LaTeX, to be read by \input: no preamble, booktabs, every name harmless."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from ecjax.layout import FIRST_STRONG_ISOLATE, POP_ISOLATE, Entry, Sheet

LINES = 36  # of a table at most; a row with intervals takes two
# Brackets and stars would be taken for arguments where they follow the end of a row.
ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%",
    "#": r"\#", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"{\char34}",
    "`": r"{\char96}", "[": "{[}", "]": "{]}", "*": "{*}",
    "×": r"$\times$", "±": r"$\pm$", "·": r"$\cdot$", "…": r"\dots{}", "–": "--",
    FIRST_STRONG_ISOLATE: "", POP_ISOLATE: "",
}  # fmt: skip
# What pdfLaTeX can set without further packages; of the rest it shows the numbers.
KNOWN = re.compile(r"[ -~À-ÏÑ-ÖØ-Ýß-ïñ-öø-ýÿ]")
HEAD = r"""% Written by ecjax. In the preamble: \usepackage{booktabs} and \usepackage{graphicx};
% then \input{tables}. Letters that pdfLaTeX does not know are shown by their numbers there; XeLaTeX
% and LuaLaTeX show what their font has.
\protected\def\ecjaxletters#1#2{\ifdefined\Umathchar#1\else{[}#2{]}\fi}
"""
TABLE = r"""
\begin{table}
\centering
\caption[%(title)s]{%(caption)s}
\label{tab:ecjax-%(number)d}
\smallskip
\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%%
\begin{tabular}{l%(columns)s}
\toprule
%(head)s
\midrule
%(rows)s
\bottomrule
\end{tabular}}
%(more)s\end{table}
"""


def document(name: str, about: str, sheets: Sequence[Sheet]) -> str:
    """The text of a file of tables.

    Args:
      name: of the study.
      about: what was run.
      sheets: the tables.
    """
    # A comment ends with its line, and nothing in a printable text ends the line.
    parts = [HEAD, f"% {name}: {about}\n"]
    number = 0
    for sheet in sheets:
        for part in _pages(sheet):
            number += 1
            parts.append(_table(part, about, number))
    return "".join(parts)


def escape(text: str) -> str:
    """A printable text as LaTeX that shows it."""
    parts = []
    for known, run in itertools.groupby(text, lambda c: c in ESCAPES or bool(KNOWN.match(c))):
        letters = "".join(run)
        numbers = " ".join(f"{ord(letter):04X}" for letter in letters)
        strange = rf"\ecjaxletters{{{letters}}}{{{numbers}}}"
        parts.append("".join(ESCAPES.get(c, c) for c in letters) if known else strange)
    return re.sub("([-'])(?=[-'])", r"\1{}", "".join(parts))  # no dashes, no closing quotes


def _pages(sheet: Sheet) -> Iterator[Sheet]:
    """The sheet in parts that fit on a page."""
    tall = any(entry is not None and entry.low for _, row in sheet.rows for entry in row)
    size = LINES // (1 + tall)
    for start in range(0, len(sheet.rows), size):
        rows = sheet.rows[start : start + size]
        title = sheet.title + (", continued" if start else "")
        last = start + size >= len(sheet.rows)
        singles = max(sheet.singles - start, 0)
        more = sheet.more if last else ""
        yield Sheet(title, sheet.caption, sheet.columns, rows, singles, more)


def _table(sheet: Sheet, about: str, number: int) -> str:
    names, metrics = zip(*sheet.columns, strict=True)
    head = [_line(["Set", *map(escape, names)]), _line(["", *map(escape, metrics)])]
    lines = []
    for i, (label, row) in enumerate(sheet.rows):
        if i and i == sheet.singles:
            lines.append(r"\midrule")
        intervals = [_interval(entry) for entry in row]
        tall = any(intervals)
        lines.append(_line([escape(label), *map(_value, row)], r"\\[-2pt]" if tall else r"\\"))
        if tall:
            lines.append(_line(["", *intervals]))
    more = rf"\par\smallskip{{\footnotesize {escape(sheet.more)}}}" + "\n" if sheet.more else ""
    return TABLE % {
        "title": escape(sheet.title),
        "caption": escape(f"{sheet.title}. {sheet.caption} {about}."),
        "number": number,
        "columns": "r" * len(sheet.columns),
        "head": "\n".join(head),
        "rows": "\n".join(lines),
        "more": more,
    }


def _line(cells: Sequence[str], end: str = r"\\") -> str:
    return f"{' & '.join(cells)} {end}"


def _value(entry: Entry | None) -> str:
    if entry is None:
        return ""
    if entry.value == "-":
        return "--"
    value = _number(entry.value)
    value = rf"\mathbf{{{value}}}" if entry.best else value
    star = r"\rlap{$^{*}$}" if entry.significant else ""
    error = rf" \pm {_number(entry.error)}" if entry.error else ""
    return f"${value}{star}{error}$"


def _interval(entry: Entry | None) -> str:
    if entry is None or not entry.low:
        return ""
    return rf"{{\scriptsize $[{_number(entry.low)}, {_number(entry.high)}]$}}"


def _number(text: str) -> str:
    return text.replace("e+", r"\mathrm{e}{+}")  # of very large ones
