"""One thread for each LAPACK call of a compiled program.

On a CPU, XLA takes its factorisations and triangular solves from SciPy's OpenBLAS and runs them on
its own threads. OpenBLAS then starts threads of its own for each of them, which wait in a busy loop
and take the cores from XLA's: with two cores a program of many small factorisations takes two to
three times as long, and has been seen to take fifty.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Iterator
from pathlib import Path

NAMES = ("scipy_openblas_{}_num_threads", "scipy_openblas_{}_num_threads64_")

_lock = threading.Lock()
_depth = 0
_before = 0


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """SciPy's OpenBLAS takes one thread a call inside, and as many as before afterwards.

    The number belongs to the process; where calls overlap, the last one to end restores it. Nothing
    happens where SciPy brings no OpenBLAS of its own.
    """
    global _depth, _before
    get, put = _functions()
    if get is None:
        yield
        return
    with _lock:
        if not _depth:
            _before = get()
            put(1)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth:
                put(_before)


@functools.cache
def _functions():
    """The library's functions that get and set the number of threads; None where there are none."""
    import scipy

    package = Path(scipy.__file__).parent
    for folder in (package.parent / "scipy.libs", package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            try:
                library = ctypes.CDLL(str(path))
            except OSError:
                continue
            for name in NAMES:
                if hasattr(library, name.format("get")):
                    get, put = (getattr(library, name.format(verb)) for verb in ("get", "set"))
                    get.argtypes, get.restype = (), ctypes.c_int
                    put.argtypes, put.restype = (ctypes.c_int,), None
                    return get, put
    return None, None
