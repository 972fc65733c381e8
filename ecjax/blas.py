"""SciPy's BLAS and LAPACK in place on row-major float64 arrays, and one thread for each call.

`scipy.linalg.blas` copies what it is given and holds the interpreter's lock, so that threads wait
for each other. The same routines are called here by their addresses, which SciPy publishes for
Cython (`scipy.linalg.cython_blas`). They read a row-major matrix as its transpose; the functions
below speak of row-major ones. Symmetric matrices are lower triangles, what stands above the
diagonal is of no use.

On a CPU, XLA takes its factorisations and triangular solves from the same library and runs them on
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

import numpy as np

NAMES = ("scipy_openblas_{}_num_threads", "scipy_openblas_{}_num_threads64_")

LAPACK = ("dpotrf", "dtrtri")

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


def multiply(
    a: np.ndarray,
    b: np.ndarray,
    out: np.ndarray,
    transpose_a: bool = False,
    transpose_b: bool = False,
    subtract: bool = False,
) -> None:
    """out = op(a) op(b); with `subtract`, out −= op(a) op(b)."""
    (m, n), k = out.shape, a.shape[0 if transpose_a else 1]
    operations = ("T" if transpose_b else "N") + ("T" if transpose_a else "N")
    alpha, beta = (-1.0, 1.0) if subtract else (1.0, 0.0)
    _call("dgemm", operations, n, m, k, alpha, b, a, beta, out)


def gram(rows: np.ndarray, out: np.ndarray) -> None:
    """out = rowsᵀ rows; out (q, q), rows (k, q)."""
    _call("dsyrk", "UN", len(out), len(rows), 1.0, rows, 0.0, out)


def add_gram(state: np.ndarray, rows: np.ndarray) -> None:
    """state += rowsᵀ rows; state (q, q), rows (k, q)."""
    _call("dsyrk", "UN", len(state), len(rows), 1.0, rows, 1.0, state)


def subtract_gram(state: np.ndarray, rows: np.ndarray) -> None:
    """state −= rowsᵀ rows; state (q, q), rows (k, q)."""
    _call("dsyrk", "UN", len(state), len(rows), -1.0, rows, 1.0, state)


def subtract_outer(state: np.ndarray, panel: np.ndarray) -> None:
    """state −= panel panelᵀ; state (q, q), panel (q, k)."""
    _call("dsyrk", "UT", len(state), panel.shape[1], -1.0, panel, 1.0, state)


def cholesky(a: np.ndarray) -> None:
    """a = L with L Lᵀ = a; not a number throughout where a is not positive definite."""
    if _call("dpotrf", "U", len(a), a):
        a[...] = np.nan


def invert(factor: np.ndarray) -> None:
    """factor = factor⁻¹ of a lower triangle; not a number throughout where it is singular."""
    if _call("dtrtri", "UN", len(factor), factor):
        factor[...] = np.nan


def multiply_transposed(rows: np.ndarray, triangle: np.ndarray) -> None:
    """rows = rows triangleᵀ; rows (m, w), triangle (w, w) lower."""
    m, w = rows.shape
    _call("dtrmm", "LUTN", w, m, 1.0, triangle, rows)


def divide_transposed(rows: np.ndarray, factor: np.ndarray) -> None:
    """rows = rows factor⁻ᵀ; rows (m, w), factor (w, w) lower."""
    m, w = rows.shape
    _call("dtrsm", "LUTN", w, m, 1.0, factor, rows)


def solve_transposed(factor: np.ndarray, right: np.ndarray) -> None:
    """right = factor⁻ᵀ right; factor (w, w) lower, right (w, m)."""
    w, m = right.shape
    _call("dtrsm", "RUTN", m, w, 1.0, factor, right)


def _call(name: str, options: str, *values) -> int:
    """Calls a routine: its options, then sizes, factors and matrices, each with its row length.

    Returns LAPACK's info, 0 from BLAS.
    """
    arguments = [ctypes.c_char_p(option.encode()) for option in options]
    for value in values:
        if isinstance(value, np.ndarray):
            assert value.dtype == float and value.strides[-1] == 8, (name, value.dtype)
            arguments.append(value.__array_interface__["data"][0])
            row = max(value.strides[0] // 8, value.shape[1])  # the stride of one row is any
            arguments.append(ctypes.byref(ctypes.c_int(row)))
        else:
            kind = ctypes.c_double if isinstance(value, float) else ctypes.c_int
            arguments.append(ctypes.byref(kind(value)))
    info = ctypes.c_int(0)
    if name in LAPACK:
        arguments.append(ctypes.byref(info))
    _routine(name, len(arguments))(*arguments)
    return info.value


@functools.cache
def _routine(name: str, arguments: int):
    """A function that calls the routine at the address that SciPy gives, without the lock."""
    from scipy.linalg import cython_blas, cython_lapack

    capsule = (cython_lapack if name in LAPACK else cython_blas).__pyx_capi__[name]
    api = ctypes.pythonapi
    signature = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", api)
    )(capsule, signature(capsule))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(address)
