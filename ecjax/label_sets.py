"""The label sets of CoordBench, as far as they are documented: the catalogue of `ecjax tasks`.

CoordBench (the data set `addresses.COORDBENCH` on the model hub) has 40 tables, of which its
evaluation makes 60 label sets. What `label_sets.csv` says of them comes from public text, read in
2026-11: names, targets, what counts as missing, rows, transforms and kinds from the loaders (and,
for the kinds of dm-*, the task families) of torchgeo-bench and of MIND, where the data set comes
from; licences and sources from MIND's manifest of it; the tables' names from the listing of the
data set itself. What is told nowhere is found when the table is fetched.
"""

from __future__ import annotations

import csv
import difflib
import functools
import textwrap
from pathlib import Path
from typing import NamedTuple

from ecjax import addresses
from ecjax.columns import in_short
from ecjax.errors import InputError, counted, listing, quote

DATA = Path(__file__).with_name("label_sets.csv")
METRICS = {"regression": "r2", "classification": "accuracy"}
FIRST = "first of "
_HEADS = "name", "kind", "metric", "rows", "split", "targets"


class LabelSet(NamedTuple):
    """One label set, and how it is made from its table.

    Attributes:
      name: as in `--task`.
      table: `data/TABLE/data.parquet` in the data set.
      kind: "regression" or "classification".
      rows: their number, None where nobody tells.
      targets: columns, or patterns of their names, upper and lower case alike; "*" is every other
        column of numbers.
      first: whether the first column that matches is the only target.
      except_: columns that are no targets, or patterns of them.
      drop: (column, value): rows that have it are left out; column "target" is the target.
      only: "COLUMN=VALUE": rows that have it are kept; "id in TABLE where COLUMN=VALUE": rows whose
        id has it there.
      transform: of a regression target, as in a study file; "" for none.
      split: values of the column `split`, "" where there is none, "?" where nobody tells.
      source, licence, note: in words.
    """

    name: str
    table: str
    kind: str
    rows: int | None
    targets: tuple[str, ...]
    first: bool
    except_: tuple[str, ...]
    drop: tuple[tuple[str, float], ...]
    only: str
    transform: str
    split: str
    source: str
    licence: str
    note: str


@functools.cache
def label_sets() -> dict[str, LabelSet]:
    """All of them by name."""
    with DATA.open(encoding="utf-8", newline="") as file:
        return {row["name"]: _read(row) for row in csv.DictReader(file)}


def label_set(name: str) -> LabelSet:
    """The one of this name, however it writes hyphens.

    Raises:
      InputError: there is none; the nearest is shown, or those of a table of that name.
    """
    known = label_sets().values()
    named = [one for one in known if _plain(one.name) == _plain(name)]
    if named:
        return named[0]
    of_table = [one.name for one in known if _plain(one.table) == _plain(name)]
    if of_table:
        raise InputError(
            f"--task: {quote(name)} is a table with {counted(len(of_table), 'label set')}: "
            f"{listing(of_table, 12)}; name one of them"
        )
    near = difflib.get_close_matches(name, label_sets(), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InputError(f"--task: unknown label set {quote(name)}; {hint}`ecjax tasks` lists them")


def as_text(width: int) -> str:
    """What `ecjax tasks` prints."""
    sets = label_sets().values()
    tables = len({one.table for one in sets})
    rows = {one.name: _cells(one) for one in sets}
    sizes = [max(map(len, column)) for column in zip(_HEADS, *rows.values(), strict=True)]
    lines = [
        f"{len(sets)} label sets from {tables} tables of {addresses.COORDBENCH} on the model hub; "
        "`ecjax fetch --task=NAME` gets one",
        "",
        f"  {_aligned(_HEADS, sizes)}",
    ]
    heading = None
    for one in sets:
        if heading != (one.source, one.licence):
            heading = one.source, one.licence
            said = f"{one.source}. Licence: {one.licence}"
            lines += ["", *_wrapped(said, width)]
        lines.append(f"  {_aligned(rows[one.name], sizes)}")
        if one.note:
            lines += _wrapped(one.note, width - 6, " " * 6)
    return "\n".join([*lines, "", "?: told when it is fetched"])


def _cells(one: LabelSet) -> tuple[str, ...]:
    targets = "every other column" if one.targets == ("*",) else in_short(one.targets)
    transform = f" ({one.transform})" if one.transform else ""
    rows = "?" if one.rows is None else f"{one.rows:,}"
    return one.name, one.kind, METRICS[one.kind], rows, one.split or "-", targets + transform


def _aligned(cells: tuple[str, ...], sizes: list[int]) -> str:
    return "  ".join(f"{cell:{size}}" for cell, size in zip(cells, sizes, strict=True)).rstrip()


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of so many columns; names and addresses stay whole, so that they can be copied."""
    how = {"initial_indent": indent, "subsequent_indent": indent}
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False, **how)


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _read(row: dict[str, str]) -> LabelSet:
    pairs = [text.split("=") for text in _several(row["drop"])]
    return LabelSet(
        name=row["name"],
        table=row["table"],
        kind=row["kind"],
        rows=int(row["rows"]) if row["rows"] else None,
        targets=_several(row["targets"].removeprefix(FIRST)),
        first=row["targets"].startswith(FIRST),
        except_=_several(row["except"]),
        drop=tuple((column, float(value)) for column, value in pairs),
        **{name: row[name] for name in ("only", "transform", "split", "source", "licence", "note")},
    )


def _several(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(";")))
