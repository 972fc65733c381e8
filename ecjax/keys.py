"""Typed access to the keys of a TOML table; every mistake is named with the nearest right thing."""

import difflib
import itertools
import tomllib
from collections.abc import Iterable
from typing import Any

from ecjax.errors import InputError, listing, quote

MOST_NESTED = 8  # tables and lists within one another
_COMPARED = 2000  # known names at most that an unknown one is compared with


def parsed(content: str, where: str) -> dict[str, Any]:
    """Returns what TOML says; whole numbers have 64 bits, and nothing is nested deeply."""
    try:
        data = tomllib.loads(content.replace("\r\n", "\n"))
    except RecursionError:
        raise InputError(f"{where}: nested too deeply; write it flatter") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML: {error}; correct that line") from None
    except ValueError:
        raise InputError(f"{where}: a number of thousands of digits; write a smaller one") from None
    level: list[Any] = [data]
    for _ in range(MOST_NESTED):
        if any(isinstance(v, int) and not -(2**63) <= v < 2**63 for v in level):
            raise InputError(f"{where}: a whole number beyond 64 bits; write a smaller one")
        held = [v.values() if isinstance(v, dict) else v for v in level if _holds_others(v)]
        level = list(itertools.chain.from_iterable(held))
    if level:
        raise InputError(f"{where}: nested too deeply; write it flatter")
    return data


def _holds_others(value: Any) -> bool:
    return isinstance(value, dict | list)


def check_known(name: object, known: Iterable[str], what: str, where: str) -> None:
    """Raises an InputError that shows the nearest known name unless `name` is a known one."""
    known = list(known)
    if name in known:
        return
    near = difflib.get_close_matches(str(name), known[:_COMPARED], n=1, cutoff=0.5)
    hint = f"did you mean {quote(near[0])}?" if near else f"known: {listing(known, 12)}"
    raise InputError(f"{where}: unknown {what} {quote(name)}; {hint}")


def tables(data: dict, key: str, what: str, where: str) -> dict[str, dict]:
    """Returns the tables [key.NAME] by name; at least one."""
    tables = data.get(key, {})
    if not isinstance(tables, dict):
        raise InputError(f"{where}: {key} must be tables [{key}.NAME], not {type_name(tables)}")
    if not tables:
        raise InputError(f"{where}: no {what}; add a table [{key}.NAME]")
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise InputError(
                f"{where}: {key}.{name} must be a table [{key}.{name}], not {type_name(table)}"
            )
    return tables


def check_keys(table: dict, known: tuple, to_come: tuple, where: str) -> None:
    """Raises an InputError at the first key that is unknown, or known but not there yet."""
    for key in table:
        if key in to_come:
            raise InputError(
                f"{where}: key {quote(key)} is not there yet in this version; remove it"
            )
        check_known(key, known, "key", where)


def text(table: dict, key: str, where: str) -> str | None:
    """Returns a key's text, or None where it is not given."""
    value = table.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise InputError(f'{where}: {key} must be text, as in {key} = "…", not {type_name(value)}')
    return value


def texts(table: dict, key: str, where: str) -> tuple[str, ...]:
    """Returns a key's texts, one or several, each once; () where it is not given."""
    value = table.get(key, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
        raise InputError(f'{where}: {key} must be a list of texts, as in {key} = ["…"]')
    if len(set(values)) < len(values):
        raise InputError(f"{where}: {key} names one column twice ({listing(values)}); remove one")
    return tuple(values)


def values(table: dict, key: str, where: str) -> tuple[float | str, ...]:
    """Returns a key's numbers and texts, one or several; () where it is not given."""
    given = table.get(key, [])
    given = given if isinstance(given, list) else [given]
    if not all(isinstance(v, (int, float, str)) and not isinstance(v, bool) for v in given):
        raise InputError(
            f"{where}: {key} must be a list of numbers or texts, as in {key} = [-999, -9999]"
        )
    return tuple(given)


def required(value: Any, key: str, example: str, where: str) -> Any:
    """Returns `value`, or raises an InputError with an example if it is empty."""
    if not value:
        raise InputError(f"{where}: key {quote(key)} is missing; add, say, {key} = {example}")
    return value


def choice(value: str, choices: tuple[str, ...], key: str, where: str) -> str:
    """Returns `value` if it is one of the choices."""
    check_known(value, choices, f"value of {key}", where)
    return value


def type_name(value: Any) -> str:
    """Returns the type of a TOML value in words."""
    if value == "":
        return "empty text"
    names = {str: "text", bool: "true/false", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "a table" if isinstance(value, dict) else type(value).__name__)
