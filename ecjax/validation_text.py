"""What `ecjax validate` prints: lines that can be pasted into a message."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from ecjax.errors import counted, listing, neutral, quote
from ecjax.memory import size_text
from ecjax.notes import Note, what_in_words
from ecjax.run_plan import RATES
from ecjax.scaled_plan import about
from ecjax.understood import Understood
from ecjax.validation import Embedding, Near, Needs, Task, Validation

WIDTH = 99
CLASSES = 12  # that are told one by one
SUSPECTS = 5  # columns that are told one by one


def as_text(found: Validation) -> str:
    """All but the errors, in lines of fewer than 100 characters, none of them a control character.

    A longer path stands whole in a longer line, so that it can be copied. Errors are a command's to
    tell.
    """
    tables = f": {counted(len(found.tasks), 'task')}" if found.tasks else ""
    lines = _wrapped("", f"study {quote(found.study)} ({neutral(found.path)}){tables}", "  ")
    for task in found.tasks:
        lines += ["", *_task(task)]
    if found.needs is not None:
        lines += ["", *_needs(found.needs)]
    return "\n".join(lines)


def _task(task: Task) -> list[str]:
    rows = f"{task.rows:,} of {counted(task.table.rows, 'row')} used"
    lines = _wrapped("", f"task {quote(task.name)}: {task.kind}, {rows}", "  ")
    lines += _entry("  ", "table", _table(task.path, task.table))
    lines += _entry("  ", "columns", task.table.columns)
    width = max((len(neutral(target.name)) for target in task.targets), default=0)
    for target in task.targets:
        unit = f" ({target.unit})" if target.unit else ""
        values = f"{_range(target.low, target.high)}, mean {target.mean:.6g}{unit}"
        lines += _entry("  ", "target", f"{neutral(target.name):{min(width, 40)}}  {values}")
    if task.classes:
        lines += _entry("  ", "classes", _classes(task.classes))
    if task.table.places:
        lines += _entry("  ", "places", task.table.places)
    if task.near is not None:
        lines += _entry("  ", "near", _near(task.near, task.rows))
    for strata in task.strata:
        fewest = "" if strata.fewest == strata.most else f"{strata.fewest:,} to "
        many = f"{strata.strata} strata of {fewest}{counted(strata.most, 'row')}"
        lines += _entry("  ", "strata", f"{neutral(strata.name)}: {many}")
    lines += _notes("  ", task.notes)
    for embedding in task.embeddings:
        lines += _embedding(embedding)
    return lines


def _embedding(embedding: Embedding) -> list[str]:
    columns, values = counted(embedding.width, "column"), _range(embedding.low, embedding.high)
    head = f"{neutral(embedding.name)}: {columns}, {embedding.dtype}, {values}"
    lines = _entry("  ", "embedding", head)
    if embedding.path is None:
        return lines + _entry("    ", "made", embedding.table.columns)
    lines += _entry("    ", "table", _table(embedding.path, embedding.table))
    lines += _entry("    ", "columns", embedding.table.columns)
    lost = "; ".join(map(what_in_words, embedding.lost))
    lines += _entry("    ", "lost", lost or "no row")
    lines += _notes("    ", embedding.notes)
    if not embedding.suspects:
        return lines + _entry("    ", "leaks", "no column is suspected")
    for one in embedding.suspects[:SUSPECTS]:
        words = f"column {quote(one.column)}: {one.kind} ({neutral(one.what)}, {one.measure:.6f})"
        lines += _entry("    ", "SUSPECTED", words)
    rest = [one.column for one in embedding.suspects[SUSPECTS:]]
    return lines + (_entry("    ", "SUSPECTED", f"and {listing(rest, 8)}") if rest else [])


def _table(path: str, table: Understood) -> str:
    parts = f" ({counted(table.files, 'file')})" if table.files > 1 else ""
    ids = f"ids are {table.id_type}, first {quote(table.first_id)}"
    return f"{neutral(path)}{parts}, {counted(table.rows, 'row')}, {ids}"


def _classes(classes: dict[str, int]) -> str:
    ordered = sorted(classes.items(), key=lambda item: -item[1])
    if len(ordered) <= CLASSES:
        return f"{len(ordered)}: " + ", ".join(f"{neutral(k)} {v:,}" for k, v in ordered)
    large, small = ordered[0], ordered[-1]
    return (
        f"{len(ordered)}, the smallest {quote(small[0])} ({small[1]:,}), the largest "
        f"{quote(large[0])} ({large[1]:,})"
    )


def _near(near: Near, rows: int) -> str:
    share = f" ({near.rows / rows:.0%})" if near.rows else ""
    text = f"{counted(near.rows, 'row')}{share} with another row nearer than {near.km:g} km"
    if not near.rows or near.trained_on is None:
        return text
    return f"{text}; {near.trained_on:,} of them are scored where such a row was trained on"


def _needs(needs: Needs) -> list[str]:
    folds = ", ".join(map(str, needs.folds))
    how = f"protocol {needs.protocol}, split {needs.split}, folds {folds}"
    how += f", {counted(needs.seeds, 'seed')}, up to {counted(needs.sets, 'set')} of embeddings"
    how += f", {needs.settings:,} settings" if needs.settings > 1 else ""
    how += "; rows are streamed, of which none was read" if needs.streamed else ""
    time = "not known on this device"
    if needs.seconds is not None:
        time = f"{about(needs.seconds)} on {RATES}, without compiling"
    budget = size_text(needs.budget_bytes)
    memory = f"up to {size_text(needs.memory_bytes)} at a time; the budget is {budget}"
    lines = ["a run of `ecjax evaluate`"]
    for label, text in {"how": how, "memory": memory, "time": time}.items():
        lines += _entry("  ", label, text)
    return lines


def _notes(indent: str, notes: Iterable[Note]) -> list[str]:
    return [line for note in notes for line in _entry(indent, "note", what_in_words(note))]


def _range(low: float, high: float) -> str:
    return f"{low:.6g} to {high:.6g}"


def _entry(indent: str, label: str, text: str) -> list[str]:
    return _wrapped(f"{indent}{label:10} ", text, " " * (len(indent) + 11))


def _wrapped(first: str, text: str, then: str) -> list[str]:
    how = {"initial_indent": first, "subsequent_indent": then}
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False, **how)
