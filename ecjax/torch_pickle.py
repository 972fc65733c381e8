"""What the pickle within a PyTorch checkpoint describes, without unpickling it.

Unpickling runs whatever a file asks for. Here a pickle is read as a list of instructions, of which
only those are followed that build dicts, lists, numbers and texts. A name of something to import or
call is compared with the few that checkpoints hold, and is never imported or called; any other
refuses the whole file, as `torch.load(…, weights_only=True)` does.
"""

from __future__ import annotations

import math
import pickletools
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from ecjax.errors import InputError, quote

MAX_AXES = 8
MAX_NUMBER = 1 << 48  # of a shape, and of all that a storage holds
MOST_TOLD = 200  # characters of what is wrong

# How the numbers of a storage are written, by its class.
BFLOAT16 = "bfloat16"  # the upper half of a float32
STORAGES = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch BFloat16Storage": BFLOAT16,
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "i1",
    "torch ByteStorage": "u1",
    "torch BoolStorage": "u1",
}
TENSOR = "torch._utils _rebuild_tensor_v2"
PARAMETER = "torch._utils _rebuild_parameter"
ORDERED = "collections OrderedDict"
# Whose attributes are read as the entries of a dict.
RECORDS = (
    "argparse Namespace",
    "jsonargparse._namespace Namespace",
    "jsonargparse.namespace Namespace",
    "lightning.fabric.utilities.data AttributeDict",
    "lightning.pytorch.utilities.parsing AttributeDict",
    "lightning_fabric.utilities.data AttributeDict",
    "pytorch_lightning.utilities.parsing AttributeDict",
)
# What else a training run leaves in its checkpoints; only the name is kept.
UNUSED = (
    "_codecs encode",
    "datetime datetime",
    "datetime timedelta",
    "numpy dtype",
    "numpy._core.multiarray scalar",
    "numpy.core.multiarray scalar",
    "pathlib PosixPath",
    "pathlib PurePosixPath",
    "pathlib WindowsPath",
    "torch Size",
    "torch device",
    *(f"torch {kind}" for kind in "float32 float64 float16 bfloat16 int64 int32 bool".split()),
)
KNOWN = {*STORAGES, TENSOR, PARAMETER, ORDERED, *RECORDS, *UNUSED}

_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINBYTES", "SHORT_BINBYTES"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_FRESH: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,
    "EMPTY_DICT": dict,
}
_PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
_GET = {"GET", "BINGET", "LONG_BINGET"}
_MARKED = {"TUPLE", "APPENDS", "ADDITEMS", "SETITEMS"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = {"PROTO", "FRAME", "STOP"}


class Storage(NamedTuple):
    """A run of numbers beside the pickle: how they are written, under which key, how many."""

    kind: str
    key: str
    size: int


class Tensor(NamedTuple):
    """Where a tensor's numbers are in a storage: from `offset` on, `strides` numbers apart."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Name(str):
    """A known name, "module name", or what the file would have made with it."""


class Record(dict):
    """The attributes of a `Namespace` or the like."""


def interpret(path: str, instructions: bytes) -> Any:
    """What a pickle describes; a `Tensor` for each tensor, and a `Name` for what is of no use here.

    Time and memory grow with its length alone.

    Raises:
      InputError: it is damaged, or names what no checkpoint needs; the message starts with `path`.
    """
    machine = _Machine()
    try:
        for opcode, value, _ in pickletools.genops(instructions):
            machine.follow(opcode.name, value)
        (result,) = machine.stack
    except _Stranger as stranger:
        raise InputError(
            f"{path}: wants {quote(stranger)[:MOST_TOLD]}, which no checkpoint of tensors needs; "
            "it was not run, and nothing of this file is used",
            "get the file from its publisher again, or the weights alone, as safetensors",
        ) from None
    except (ValueError, LookupError, TypeError, struct.error) as error:
        fault = f"{type(error).__name__}: {error}"[:MOST_TOLD]
        raise InputError(f"{path}: data.pkl is damaged ({fault}); get the file again") from None
    return result


class _Stranger(Exception):
    """A name that is not known."""


class _Machine:
    """The stack that the instructions work on. Nothing here calls what a file names."""

    def __init__(self):
        self.stack: list = []
        self.below: list[list] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}

    def follow(self, name: str, value: Any) -> None:
        """Follows one instruction; `value` is what stands behind it in the pickle."""
        if name in _LITERALS:
            self.stack.append(value)
        elif name in _FRESH:
            self.stack.append(_FRESH[name]())
        elif name in _PUT or name == "MEMOIZE":
            self.memo[len(self.memo) if name == "MEMOIZE" else value] = self.stack[-1]
        elif name in _GET:
            self.stack.append(self.memo[value])
        elif name == "MARK":
            self.below.append(self.stack)
            self.stack = []
        elif name in _MARKED:
            items, self.stack = self.stack, self.below.pop()
            self._gather(name, items)
        elif name in _TUPLES:
            items = [self.stack.pop() for _ in range(_TUPLES[name])]
            self.stack.append(tuple(reversed(items)))
        elif name not in _NOTHING:
            self._build(name, value)

    def _gather(self, name: str, items: list) -> None:
        """What becomes of the items above a mark."""
        if name == "TUPLE":
            self.stack.append(tuple(items))
        elif name == "SETITEMS":
            _put(self.stack[-1], items)
        else:
            _expect(self.stack[-1], list).extend(items)

    def _build(self, name: str, value: Any) -> None:
        """Instructions that name or make something, or add to what is below."""
        if name == "GLOBAL":
            self.stack.append(_known(value))
            return
        above = self.stack.pop()
        if name == "STACK_GLOBAL":
            self.stack.append(_known(f"{_expect(self.stack.pop(), str)} {_expect(above, str)}"))
        elif name == "BINPERSID":
            self.stack.append(_storage(above))
        elif name == "APPEND":
            _expect(self.stack[-1], list).append(above)
        elif name == "SETITEM":
            _put(self.stack[-2], [self.stack.pop(), above])
        elif name in ("REDUCE", "NEWOBJ"):
            self.stack.append(_made(_expect(self.stack.pop(), Name), _expect(above, tuple)))
        elif name == "BUILD":
            if type(self.stack[-1]) is Record:  # the attributes of all others are of no use
                self.stack[-1].update(_expect(above, dict))
        else:
            raise ValueError(f"instruction {name}, which torch.save never writes")


def _known(name: str) -> Name:
    if name not in KNOWN:
        raise _Stranger(name.replace(" ", ".", 1))
    return Name(name)


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{type(value).__name__} where {kind.__name__} belongs")
    return value


def _put(target: Any, items: list) -> None:
    """Adds keys and values in turn. Keys are plain: nested ones can take for ever to hash."""
    if type(target) not in (dict, Record) or len(items) % 2:
        raise ValueError("entries of what is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, int):
            raise ValueError(f"a key that is {type(key).__name__}")
        target[key] = value


def _storage(identifier: Any) -> Storage:
    """What ("storage", its class, key, device, size) stands for."""
    word, kind, key, _, size = _expect(identifier, tuple)
    if _expect(word, str) != "storage" or _expect(kind, Name) not in STORAGES:
        raise ValueError("an unknown kind of storage")
    sizes((size,))
    return Storage(STORAGES[kind], _expect(key, str), size)


def _made(name: Name, arguments: tuple) -> Any:
    """What a call would have made, as far as it is of use."""
    if name == TENSOR:
        return tensor(*arguments[:4])
    if name == PARAMETER:
        return _expect(arguments[0], Tensor)
    if name == ORDERED:
        made: dict = {}
        for pair in _expect(arguments[0], list) if arguments else ():
            _put(made, list(_expect(pair, tuple)))
        return made
    return Record() if name in RECORDS else name


def tensor(storage: Storage, offset: int, shape: tuple, strides: tuple) -> Tensor:
    """A tensor, which lies within its storage.

    Raises:
      ValueError: it does not, or its shape is no shape.
    """
    _expect(storage, Storage)
    if len(sizes(shape)) != len(sizes(strides)):
        raise ValueError("a shape whose strides are of another")
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    last = sum(sizes((offset,))) + reach
    if 0 not in shape and (last >= storage.size or math.prod(shape) > storage.size):
        raise ValueError("a tensor larger than its storage")
    return Tensor(storage, offset, shape, strides)


def sizes(values: Any) -> tuple[int, ...]:
    """A few sizes, as they are given, of which none is absurd. Raises ValueError if one is."""
    if len(_expect(values, tuple)) > MAX_AXES:
        raise ValueError("a shape of too many axes")
    if any(not 0 <= _expect(value, int) < MAX_NUMBER for value in values):
        raise ValueError("a size that cannot be")
    return values
