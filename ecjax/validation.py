"""What `ecjax validate` finds out about a study, as data.

`validate` makes it and `validation_text` puts it in words; as JSON it has the names that stand
here.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from ecjax.notes import Note
from ecjax.suspects import Suspect
from ecjax.understood import Understood


@dataclasses.dataclass(frozen=True)
class Embedding:
    """One embedding of a task.

    Attributes:
      path: of its table, relative to the study's folder where it is within; None where there is
        none.
      table: what was understood of it.
      width, dtype: of the vectors, as they are used.
      low, high: of their values in the rows used.
      lost: rows that the task loses by it, with reasons.
      notes: what else was noticed.
      suspects: columns that may be leaks.
    """

    name: str
    path: str | None
    table: Understood
    width: int
    dtype: str
    low: float
    high: float
    lost: tuple[Note, ...]
    notes: tuple[Note, ...]
    suspects: tuple[Suspect, ...]


@dataclasses.dataclass(frozen=True)
class Target:
    """One target in the unit that it is fitted in: what its values in the rows used are like."""

    name: str
    unit: str
    low: float
    high: float
    mean: float


@dataclasses.dataclass(frozen=True)
class Near:
    """Rows with another row nearer than `km`.

    Attributes:
      rows: how many.
      trained_on: of how many such a row is trained on while they are scored, with the first seed;
        None where there are no folds.
    """

    km: float
    rows: int
    trained_on: int | None


@dataclasses.dataclass(frozen=True)
class Strata:
    """One column that divides the rows: how many strata, and rows in the smallest and largest."""

    name: str
    strata: int
    fewest: int
    most: int


@dataclasses.dataclass(frozen=True)
class Task:
    """One task on the rows that all of its embeddings have.

    Attributes:
      path: of its table, as of an embedding.
      table: what was understood of it.
      rows: used.
      targets: of regression; () for classes.
      classes: label → rows; {} for regression.
      near: None without coordinates.
    """

    name: str
    kind: str
    path: str
    table: Understood
    rows: int
    targets: tuple[Target, ...]
    classes: dict[str, int]
    near: Near | None
    strata: tuple[Strata, ...]
    embeddings: tuple[Embedding, ...]
    notes: tuple[Note, ...]


@dataclasses.dataclass(frozen=True)
class Needs:
    """What `ecjax evaluate` with the same flags would take.

    Attributes:
      folds: numbers of folds, of all tasks and settings.
      settings: of the sweep; 1 without.
      sets: most subsets of embeddings of a task.
      memory_bytes: of the largest call, an upper estimate; `budget_bytes` is what it may use.
      seconds: without compiling; None on a device whose rates were never measured.
      streamed: whether rows pass by, because the tables do not fit or this was asked for.
    """

    protocol: str
    split: str
    folds: tuple[int, ...]
    seeds: int
    settings: int
    sets: int
    operations: float
    memory_bytes: float
    budget_bytes: float
    seconds: float | None
    streamed: bool


@dataclasses.dataclass(frozen=True)
class Validation:
    """What was found out about a study.

    Attributes:
      study: its name, and `path` its file's name.
      usable: whether a run with the same flags would start.
      errors: why not; several tables have one each.
      tasks: () where a table cannot be used, or none was read because rows are streamed.
      needs: None where it cannot be planned.
    """

    study: str
    path: str
    usable: bool
    errors: tuple[str, ...]
    tasks: tuple[Task, ...]
    needs: Needs | None

    def as_json(self) -> str:
        """One JSON object; numbers that are not finite are null."""
        return json.dumps(_plain(dataclasses.asdict(self)), indent=1, allow_nan=False)


def of_error(path: str, error: Exception) -> Validation:
    """Of a study file that cannot be used itself."""
    return Validation("", path.rpartition("/")[2], False, (str(error),), (), None)


def _plain(value: Any) -> Any:
    """Of numbers, texts, lists and dicts: with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
