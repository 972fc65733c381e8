"""Damaged files, one by one: which is drawn, and what has become of it once it is read.

A damaged file may be refused with a message, or read as what it was. It may be read as something
else where nothing in it could have told, but never where a checksum covers what has changed; and
whatever is read is in order.
"""

from __future__ import annotations

import dataclasses
import random
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mutations import Mutation

from ecjax.errors import InputError

MOST_SAID = 4000  # characters of a message
NO_ROOM = ("malloc", "realloc", "bad_alloc", "MemoryError", "out of memory", "Unable to allocate")
PASSED = ("equal", "changed", "refused")
RAN = Path("unpickled")  # a folder that hostile pickles would make where they are read

Read = Callable[[Path], list[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Container:
    """A form of file.

    Attributes:
      name: in the table of results and in names of kept cases.
      file: its name, for messages and since the extension says what it is.
      contents: two valid files; the first is damaged, by parts of the second too.
      beside: what lies beside it, by name.
      read: what a folder with the file holds, as arrays.
      kinds: of mutations.
      covered: where in a valid file a checksum covers the bytes.
      mending: kinds that write checksums that fit.
      refusals: what `read` may raise.
      names: of which their messages have at least one; where empty, none is asked for.
    """

    name: str
    file: str
    contents: tuple[bytes, bytes]
    read: Read
    kinds: dict[str, Mutation]
    beside: dict[str, bytes] = dataclasses.field(default_factory=dict)
    covered: Callable[[bytes], list[tuple[int, int]]] = lambda content: []
    mending: tuple[str, ...] = ()
    refusals: tuple[type[Exception], ...] = (InputError,)
    names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Case:
    """A damaged file; `bound` where a checksum covers all that has changed."""

    container: Container
    kind: str
    content: bytes
    bound: bool


def draw_kind(
    among: Sequence[Container], seed: int, number: int
) -> tuple[Container, str, random.Random]:
    """What the case of a number is a change of, the kind of it, and what draws the rest."""
    container = among[number % len(among)]
    draw = random.Random(f"{seed} {number}")
    return container, draw.choice(list(container.kinds)), draw


def draw_case(among: Sequence[Container], seed: int, number: int) -> Case:
    """The case of a number; the same for the same containers and seed."""
    container, kind, draw = draw_kind(among, seed, number)
    content = container.kinds[kind](*container.contents, draw)
    bound = kind not in container.mending and is_bound(container, content)
    return Case(container, kind, content, bound)


def is_bound(container: Container, content: bytes) -> bool:
    """Whether all that was changed is under a checksum."""
    before = container.contents[0]
    if content in container.contents:
        return False
    parts = container.covered(before)
    if len(content) == len(before):
        changed = np.flatnonzero(
            np.frombuffer(before, np.uint8) != np.frombuffer(content, np.uint8)
        )
        inside = np.zeros(len(changed), bool)
        for start, stop in parts:
            inside |= (start <= changed) & (changed < stop)
        return bool(inside.all())
    shorter = min(len(before), len(content))
    start = next((j for j in range(shorter) if before[j] != content[j]), shorter)
    end = 0
    while end < shorter - start and before[-1 - end] == content[-1 - end]:
        end += 1
    return any(a <= start and len(before) - end <= b for a, b in parts)


def prepare(container: Container, folder: Path) -> Path:
    """The container's own folder within one, with what lies beside its file."""
    own = folder / container.name
    if not own.exists():
        own.mkdir()
        for name, content in container.beside.items():
            (own / name).write_bytes(content)
    return own


def judge(case: Case, folder: Path, expected: Sequence[np.ndarray]) -> tuple[str, str]:
    """Reads a case and says what became of it: one of PASSED, or what is wrong, and in words.

    Args:
      case: it.
      folder: where its container has been prepared, or will be.
      expected: what the undamaged file holds.
    """
    own = prepare(case.container, folder)
    (own / case.container.file).write_bytes(case.content)
    outcome = _outcome(case, own, expected)
    if RAN.exists():
        RAN.rmdir()
        return "ran", "what the file asked for was done"
    return outcome


def _outcome(case: Case, own: Path, expected: Sequence[np.ndarray]) -> tuple[str, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", DeprecationWarning)  # which nobody is shown
            arrays = case.container.read(own)
    except case.container.refusals as error:
        return message_fault(str(error), case.container) or "refused", str(error)
    except AssertionError as error:
        return "disorder", where(error)
    except MemoryError as error:
        return "memory", where(error)
    except BaseException as error:
        return "error", where(error)
    if equal(arrays, expected):
        return "equal", ""
    return ("fooled", "changed values, which a checksum covers") if case.bound else ("changed", "")


def message_fault(message: str, container: Container) -> str:
    """What is wrong with a message, if anything; lines below the first show the way out."""
    if any(word in message for word in NO_ROOM):
        return "memory"
    first, *rest = message.split("\n    ")
    named = not container.names or any(name in first for name in container.names)
    printable = all(line.isprintable() for line in (first, *rest))
    return "" if named and printable and len(message) <= MOST_SAID else "message"


def where(error: BaseException) -> str:
    """An exception, and the line that raised it."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    file = Path(trace.tb_frame.f_code.co_filename).name
    return f"{type(error).__name__} in {file}:{trace.tb_lineno}: {str(error)[:200]}"


def equal(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> bool:
    """Whether all arrays have the same type, shape and values."""
    return len(found) == len(expected) and all(
        a.dtype == b.dtype and a.shape == b.shape and (a == b).all()
        for a, b in zip(found, expected, strict=True)
    )
