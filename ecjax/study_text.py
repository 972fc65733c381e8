"""The study file that `ecjax fetch` writes: embeddings, and which columns are targets."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as types

from ecjax import columns
from ecjax.errors import InputError, counted, quote
from ecjax.keys import check_known, parsed
from ecjax.study import KINDS
from ecjax.wanted import YEAR, Wanted

MOST_OFFERED = 20  # columns that become comments
Tasks = dict[str, dict[str, Any]]  # name → keys, as in a study file
_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Target(NamedTuple):
    """A column that is a target, or could be.

    Attributes:
      column: its name.
      kind: of KINDS; None where its type does not tell.
    """

    column: str
    kind: str | None


class Targets(NamedTuple):
    """Columns that become tasks, others that could be, and what is wrong with some that are not."""

    taken: tuple[Target, ...]
    offered: tuple[Target, ...]
    faults: tuple[str, ...]


def targets_of(wanted: Wanted, asked: Sequence[str], kind: str | None) -> Targets:
    """Which columns become tasks, one of each.

    Those that are asked for; else the only column of numbers, or, where there is none, the only
    one of text or true/false whose values repeat.

    Args:
      asked: columns.
      kind: of those that become tasks; None: floats are a regression target, text and true/false
        class labels.

    Raises:
      InputError: a column that is not there or can be no target, whole numbers without a kind, or
        numbers among which is text.
    """
    labels, where = wanted.labels, wanted.task.where
    if kind is not None:
        check_known(kind, KINDS, "value of --kind", where)
    roles = wanted.task.roles.values()
    able = {name: _target(name, labels) for name in labels.column_names if name not in roles}
    for name in asked:
        check_known(name, labels.column_names, "column for --target", where)
    texts = {name: _text_among_numbers(labels[name], wanted.ids) for name in able}
    faults = {name: f"{quote(name)} {text}" for name, text in texts.items() if text}
    for name in asked:
        if name in faults and kind != "classification":
            raise InputError(f"{where}: {faults[name]}, or say --kind=classification")
    offered = [
        target
        for name, target in able.items()
        if target is not None and name not in faults and _is_offered(target, labels)
    ]
    taken = [_taken(name, able.get(name), kind, where) for name in asked]
    if not asked:
        taken = _only(offered, kind)
    chosen = [target.column for target in taken]
    others = tuple(target for target in offered if target.column not in chosen)
    return Targets(tuple(taken), others, tuple(faults[n] for n in faults if n not in chosen))


def tasks_of(targets: Sequence[Target], labels: str, roles: Mapping[str, str]) -> Tasks:
    """A task for each target, whose kind is None where it is not known.

    Args:
      labels: the table that they are columns of, beside the study file.
      roles: which of its columns are "id", "lat" and "lon".
    """
    found: Tasks = {}
    for target in targets:
        plain = re.sub(r"[^\w-]+", "_", target.column).strip("_") or "task"
        name, number = plain, 2
        while name in found:
            name, number = f"{plain}_{number}", number + 1
        about = {"target": [target.column], "kind": target.kind}
        places = {"lat": roles["lat"], "lon": roles["lon"]}
        found[name] = {"path": labels, "id": roles["id"], **about, **places}
    return found


def study_text(name: str, embeddings: Sequence[str], tasks: Tasks, offered: Tasks) -> str:
    """The study file.

    Args:
      name: of the study.
      embeddings: names, each with a table `NAME.parquet` beside the file.
      tasks: of the study.
      offered: those that become comments.
    """
    parts = [f"name = {_text(name or 'places')}"]
    parts += [_table("embeddings", e, {"path": f"{e}.parquet"}) for e in embeddings]
    if not embeddings:
        parts.append('# No embedding yet: embeddings.NAME.path = "table.parquet"')
    parts += [_table("tasks", task, keys) for task, keys in tasks.items()]
    if offered:
        more = len(offered) - MOST_OFFERED
        head = "# Other columns that could be targets: remove the # of those that are wanted."
        parts.append(head + (f" {more:,} more are not listed." if more > 0 else ""))
        for task, keys in list(offered.items())[:MOST_OFFERED]:
            parts.append("# " + _table("tasks", task, keys).replace("\n", "\n# "))
    text = "\n\n".join(parts) + "\n"
    return f"{_head(text)}\n{text}"


def is_unchanged(content: bytes) -> bool:
    """Whether a study file is as `study_text` has it, and nobody has edited it."""
    head, _, text = content.decode("utf-8", "replace").partition("\n")
    return head == _head(text)


def tables_named(text: str) -> set[str]:
    """The names of the files that the embeddings of a study file are in; none if it is damaged."""
    try:
        embeddings = parsed(text, "study").get("embeddings", {})
        return {PurePath(keys["path"]).name for keys in embeddings.values() if "path" in keys}
    except (InputError, AttributeError, TypeError):  # which `ecjax validate` tells
        return set()


def _head(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"# Written by `ecjax fetch`, which replaces it only while it is unchanged ({digest})."


def _target(name: str, table: pa.Table) -> Target | None:
    """What a column could be, by its type."""
    kind = table.schema.field(name).type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_integer(kind):
        return Target(name, None)
    if columns.is_number(kind):
        return Target(name, "regression")
    labels = types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind)
    return Target(name, "classification") if labels else None


def _text_among_numbers(values: pa.ChunkedArray, ids: np.ndarray) -> str:
    """What is wrong with a column of text most of which writes numbers; "" where nothing is."""
    if not (types.is_string(values.type) or types.is_large_string(values.type)):
        return ""
    texts = values.to_pandas()
    given = (texts.notna() & (texts != "")).to_numpy()
    read = pd.to_numeric(texts, errors="coerce").notna().to_numpy()
    bad = np.flatnonzero(given & ~read)
    if not len(bad) or read.sum() <= given.sum() / 2:
        return ""
    return (
        f"holds numbers but for {counted(len(bad), 'value')}, first {quote(texts[bad[0]])} at id "
        f"{quote(ids[bad[0]])}; correct them, or leave them empty"
    )


def _is_offered(target: Target, table: pa.Table) -> bool:
    """Whether a column that nobody has asked for looks like a target."""
    usual = (*columns.ID_NAMES, *columns.LATITUDES, *columns.LONGITUDES, YEAR)
    if target.column.lower() in usual:
        return False
    if target.kind != "classification":
        return True
    return 2 <= pc.count_distinct(table[target.column]).as_py() <= len(table) / 2


def _taken(name: str, target: Target | None, kind: str | None, where: str) -> Target:
    if target is None:
        raise InputError(
            f"{where}: {quote(name)} cannot be a target: it is an id or a coordinate, or holds "
            "neither numbers nor labels; name another column with --target"
        )
    if not kind and not target.kind:
        raise InputError(
            f"{where}: {quote(name)} holds whole numbers, which may be amounts or class labels; "
            "say which with --kind=regression or --kind=classification"
        )
    return Target(name, kind or target.kind)


def _only(offered: Sequence[Target], kind: str | None) -> list[Target]:
    """The target that nobody has to choose, if there is one."""
    able = [target for target in offered if target.kind != "classification"] or offered
    if len(able) != 1 or not (kind or able[0].kind):
        return []
    return [Target(able[0].column, kind or able[0].kind)]


def _table(kind: str, name: str, keys: Mapping[str, Any]) -> str:
    lines = [f"{key} = {_value(value)}" for key, value in keys.items()]
    return "\n".join([f"[{kind}.{_key(name)}]", *lines])


def _value(value: str | Sequence[str] | None) -> str:
    if value is None:  # a kind that is not known
        return " # or ".join(map(_text, KINDS))
    return _text(value) if isinstance(value, str) else f"[{', '.join(map(_text, value))}]"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    """As TOML has it: like JSON, but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
