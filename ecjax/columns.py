"""Which columns of a table hold the embedding, decided from names and types alone."""

import fnmatch
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ecjax.errors import InputError, counted, listing, neutral, quote
from ecjax.keys import check_known

# Coordinates by the names they usually bear, in lower case, for the leak guard's sake.
LATITUDES = ("lat", "latitude", "y")
LONGITUDES = ("lon", "lng", "long", "longitude", "x")
# Where each vector comes from, as `ecjax fetch` writes it: first the data set and its version.
PROVENANCE = ("dataset", "tile", "checksum")
ID_NAMES = ("id", "index", "fid", "geoid", "tract_id", "system:index", "key", "name")
_DIGITS = re.compile(r"\d+")
_MOST_NUMBERS, _MOST_DIGITS = 16, 18  # in the name of a column that is one of a family


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type holds one list per row."""
    types = pa.types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers, true/false aside."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text, each word stored once or every time."""
    types = pa.types
    if types.is_dictionary(kind):
        return is_text(kind.value_type)
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def is_coordinate(name: str) -> bool:
    """Whether a column is named as coordinates usually are."""
    return name.lower() in LATITUDES + LONGITUDES


def place_columns(coordinates: Mapping[str, np.ndarray]) -> tuple[str, str] | None:
    """The columns that look like latitude and longitude in degrees by name and values, if any."""
    found = []
    for names, limit in ((LATITUDES, 90), (LONGITUDES, 180)):
        like = [name for name in coordinates if name.lower() in names]
        found += [name for name in like if (np.abs(coordinates[name]) <= limit).all()][:1]
    return tuple(found) if len(found) == 2 else None


def check_unique(names: Iterable[str], where: str) -> None:
    """Raises an InputError if two columns bear one name."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(
            f"{where}: {counted(len(repeated), 'duplicate column')}, first {listing(repeated)}; "
            "rename or remove all but one of each"
        )


def check_id(schema: pa.Schema, name: str, where: str) -> None:
    """Raises an InputError that lists likely id columns if there is no column `name`."""
    if name in schema.names:
        return
    typed = [f.name for f in schema if pa.types.is_integer(f.type) or is_text(f.type)]
    likely = [n for n in typed if n.lower() in ID_NAMES or n.lower().endswith("id")]
    rest = [n for n in typed if n not in likely and not _DIGITS.search(n)]
    hint = f'candidates: {listing(likely + rest, 8)}; say which with id = "…"'
    if not likely + rest:
        hint = f"and no column could be one ({listing(schema.names, 6)}); add an id to the table"
    raise InputError(f"{where}: no id column {quote(name)}; {hint}")


def version(schema: pa.Schema) -> list[str]:
    """The column that says of which data set, in which version, each vector is, if there is one.

    `ecjax fetch` writes it with others that tell where vectors come from; by itself, a column of
    that name may be anything.
    """
    return [PROVENANCE[0]] if set(PROVENANCE) <= set(schema.names) else []


def series(column: pa.ChunkedArray) -> pd.Series:
    """A column as pandas has it, which wants each of a dictionary's words once; files need not."""
    if pa.types.is_dictionary(column.type):
        column = pa.chunked_array(map(_each_word_once, column.chunks), column.type)
    return column.to_pandas()


def _each_word_once(array: pa.DictionaryArray) -> pa.DictionaryArray:
    words = array.dictionary.unique().drop_null()
    if len(words) == len(array.dictionary):
        return array
    places = pc.index_in(array.dictionary, words).cast(array.indices.type)
    return pa.DictionaryArray.from_arrays(places.take(array.indices), words)


def holds(column: pa.ChunkedArray, values: Sequence[float | str]) -> pa.ChunkedArray:
    """(n,) whether a row of a column has one of some values; text is compared as it is written."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if is_text(column.type):
        return pc.is_in(column.cast(pa.string()), pa.array([_written(v) for v in values]))
    if not is_number(column.type):
        return pc.is_in(column, pa.nulls(0, column.type))
    numbers = [float(v) for v in values if not isinstance(v, str)]
    kind = column.type if pa.types.is_floating(column.type) else pa.float64()
    given = pa.array(numbers, pa.float64()).cast(kind, safe=False)
    return pc.is_in(column.cast(kind, safe=False), given)


def _written(value: float | str) -> str:
    """As text has it: -999 for -999.0."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value)


def choose_columns(
    schema: pa.Schema, others: Sequence[str], pattern: str | None, where: str
) -> list[str]:
    """Chooses the embedding's columns.

    Args:
        schema: The table's columns.
        others: The id and such, which are no candidates for the unambiguous match.
        pattern: An fnmatch pattern that names the columns, or None: exactly one column of lists of
            numbers, or exactly one family of at least two columns whose names differ in one number.
        where: The table, for messages.

    Returns:
        One column of lists, or the numbered columns in the order of their numbers.

    Raises:
        InputError: Nothing or more than one thing matches, or the numbering has gaps or repeats.
    """
    if pattern is not None:
        return _matching(schema, pattern, where)
    lists = [f.name for f in schema if is_list(f.type) and is_number(f.type.value_type)]
    numbered = _families([f.name for f in schema if f.name not in others])
    numeric = {f.name for f in schema if is_number(f.type)}
    families = [f for f in numbered if len(f) > 1 and any(name in numeric for name in f.values())]
    if len(lists) + len(families) == 1:
        return lists or _in_order(families[0], where)
    if lists or families:
        runs = [list(family.values()) for family in sorted(families, key=len, reverse=True)]
        found = [quote(name) for name in lists]
        found += [f"{quote(run[0])}…{quote(run[-1])} ({len(run)} columns)" for run in runs]
        more = f" and {len(found) - 6} more" if len(found) > 6 else ""
        example = lists[0] if lists else _pattern(runs[0])
        raise InputError(
            f"{where}: {len(found)} sets of columns could be the embedding: "
            f'{", ".join(found[:6])}{more}; choose with columns = "…", as in columns = '
            f"{quote(example)}"
        )
    raise InputError(
        f"{where}: no embedding columns found (one column of lists, or numbered columns such as "
        f'emb_0, emb_1, …) among {listing(schema.names, 8)}; name them with columns = "…"'
    )


def in_short(names: Sequence[str]) -> str:
    """Columns in a few words: emb_0 … emb_63, or the first of them where they are no such run."""
    if len(names) > 2 and any(len(family) == len(names) for family in _families(list(names))):
        return f"{neutral(names[0])} … {neutral(names[-1])}"
    shown = ", ".join(neutral(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3:,} more"


def check_present(schema: pa.Schema, name: str, what: str, where: str) -> None:
    """Raises an InputError with the nearest name if there is no column `name`."""
    check_known(name, schema.names, f"column for {what}", where)


def _pattern(run: Sequence[str]) -> str:
    """A pattern that columns match whose names differ in one number."""
    start = os.path.commonprefix(run)
    rest = [name[len(start) :][::-1] for name in run]
    return f"{start}*{os.path.commonprefix(rest)[::-1]}"


def _matching(schema: pa.Schema, pattern: str, where: str) -> list[str]:
    names = [n for n in schema.names if fnmatch.fnmatchcase(n, pattern)]
    if not names:
        raise InputError(
            f"{where}: no column matches columns = {quote(pattern)}; the file has "
            f"{counted(len(schema.names), 'column')}: {listing(schema.names, 8)}"
        )
    lists = [n for n in names if is_list(schema.field(n).type)]
    if lists and len(names) > 1:
        raise InputError(
            f"{where}: columns = {quote(pattern)} matches {len(names)} columns of which "
            f"{listing(lists)} hold lists; name one column of lists, or numbered columns"
        )
    families = [f for f in _families(names) if len(f) == len(names)]
    return list(families[0].values()) if families else names


def _families(names: list[str]) -> list[dict[int, str]]:
    """Groups of names that differ in one number only, each as {number: name} in that order.

    A number written in two ways (emb_1, emb_01) puts the second under a negative key.
    """
    groups: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name in names:
        numbers = list(itertools.islice(_DIGITS.finditer(name), _MOST_NUMBERS + 1))
        if len(numbers) > _MOST_NUMBERS or any(len(n.group()) > _MOST_DIGITS for n in numbers):
            continue
        for digits in numbers:
            around = name[: digits.start()], name[digits.end() :]
            groups.setdefault(around, []).append((int(digits.group()), name))
    families = []
    for members in groups.values():
        family: dict[int, str] = {}
        for number, name in sorted(members, key=lambda member: member[0]):
            family[number if number not in family else -len(family)] = name
        families.append(family)
    return families


def _in_order(family: dict[int, str], where: str) -> list[str]:
    """The family's names, if its numbers follow one another without gap or repeat."""
    numbers, names = list(family), list(family.values())
    for previous, number, name in zip(numbers, numbers[1:], names[1:], strict=False):
        if number < 0:
            raise InputError(
                f"{where}: column {quote(name)} repeats a number of {quote(names[0])}…"
                f'{quote(names[-1])}; rename it, or choose with columns = "…"'
            )
        if number != previous + 1:
            raise InputError(
                f"{where}: the columns {quote(names[0])}…{quote(names[-1])} have a gap before "
                f"{quote(name)} ({len(names)} columns found); add what is missing, or choose "
                'with columns = "…"'
            )
    return names
