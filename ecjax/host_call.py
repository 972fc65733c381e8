"""`host.fit` and its like, all that runs on the host's BLAS, as operations of a compiled program.

They do what `jax.pure_callback(host.fit, …)` would do, but give `host.fit` its arrays as they are.
`pure_callback` makes arrays of JAX of them first. JAX's threads then copy the large ones, and there
are as many threads as cores: a call-back that waits for a copy holds one of them, and where all are
held, as on one core always, the program waits for ever.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import mlir

from ecjax import host, host_kept, host_nested, host_rechosen
from ecjax.host import HeldOut
from ecjax.host_kept import KeptFits
from ecjax.host_nested import NestedFits
from ecjax.subsets import Lattice


def fit(
    blocks: Sequence[Array],
    y: Array,
    held_out: Array,
    ridge_lambda: Array,
    lattice: Lattice,
    residuals: bool,
    scored: Array | None = None,
) -> HeldOut:
    """As `host.fit`, traced."""
    given = () if scored is None else (scored,)
    arguments = (*blocks, y, ridge_lambda, held_out, *given)
    found = _fit.bind(*arguments, lattice=lattice, residuals=residuals, divided=scored is None)
    return HeldOut(*map(_numbers, found))


def _fit_host(*arrays: np.ndarray, lattice: Lattice, residuals: bool, divided: bool) -> HeldOut:
    arrays, scored = (arrays, None) if divided else (arrays[:-1], arrays[-1])
    *blocks, y, ridge_lambda, held_out = arrays
    return host.fit(blocks, y, held_out, ridge_lambda, lattice, residuals, scored)


def _fit_shapes(*arguments, lattice: Lattice, residuals: bool, divided: bool) -> HeldOut:
    y = arguments[-3 if divided else -4]
    (r, k, h), (n, t), s = arguments[-1].shape, y.shape, len(lattice.subsets)
    return HeldOut((r, k, s, t), (t, n, s), (r, k, h if residuals else 0, s, t))


def fit_nested(
    blocks: Sequence[Array],
    y: Array,
    tested: Array,
    grid: Array,
    inner_rows: Array | None,
    groups: np.ndarray | None,
    tasks: Sequence[tuple[int, int]],
    lattice: Lattice,
    residuals: bool,
    bands: Sequence[int] = (),
) -> NestedFits:
    """As `host_nested.fit`, traced."""
    inner = groups if inner_rows is None else inner_rows  # told apart by their axes
    arguments = (*blocks, y, tested, grid, inner)
    static = {"tasks": tuple(tasks), "lattice": lattice, "bands": tuple(bands)}
    found = _nested.bind(*arguments, residuals=residuals, **static)
    return NestedFits(*map(_numbers, found))


def _nested_host(*arrays: np.ndarray, **static) -> NestedFits:
    *blocks, y, tested, grid, inner = arrays
    inner = (None, inner) if inner.ndim == 2 else (inner, None)
    return host_nested.fit(blocks, y, tested, grid, *inner, **static)


def _nested_shapes(*arguments, lattice: Lattice, residuals: bool, tasks, bands) -> NestedFits:
    *_, y, tested, _, _ = arguments
    (r, k, h), (n, t), s = tested.shape, y.shape, len(lattice.subsets)
    whole, chosen = (r, k, s, t), (r, k, s, t, len(bands) or 1)
    kept = (r, k, h if residuals else 0, s, t)
    return NestedFits(whole, (t, n, s), (t, n, s), kept, chosen, whole)


def fit_kept(
    blocks: Sequence[Array],
    y: Array,
    weights: Array,
    tested: Array,
    left_out: Array,
    grid: Array,
    places: Array,
    lattice: Lattice,
    divided: bool,
    own_scale: bool,
    row_error: bool,
) -> KeptFits:
    """As `host_kept.fit`, traced."""
    arguments = (*blocks, y, weights, tested, left_out, grid, places)
    flags = {"divided": divided, "own_scale": own_scale, "row_error": row_error}
    return KeptFits(*map(_numbers, _kept.bind(*arguments, lattice=lattice, **flags)))


def _kept_host(*arrays: np.ndarray, **static) -> KeptFits:
    return host_kept.fit(arrays[:-6], *arrays[-6:], **static)


def _kept_shapes(*arguments, lattice: Lattice, row_error: bool, **static) -> KeptFits:
    y, weights, tested, _, _, _ = arguments[-6:]
    (c, n), t, (r, k, _), s = weights.shape, y.shape[1], tested.shape, len(lattice.subsets) + 1
    return KeptFits((c, r, k, s, t), (c, r, t, n if row_error else 0, s))


def choose_again(
    blocks: Sequence[Array],
    y: Array,
    weights: Array,
    rows: Array,
    grid: Array,
    places: Array,
    lattice: Lattice,
    groups: tuple[tuple[int, ...], ...],
    tasks: tuple[tuple[int, int], ...],
    bands: tuple[int, ...],
) -> Array:
    """As `host_rechosen.choose`, traced."""
    arguments = (*blocks, y, weights, rows, grid, places)
    static = {"lattice": lattice, "groups": groups, "tasks": tasks, "bands": bands}
    (found,) = _rechosen.bind(*arguments, **static)
    return _numbers(found).astype(np.int32)


def _rechosen_host(*arrays: np.ndarray, **static) -> tuple[np.ndarray]:
    return (host_rechosen.choose(arrays[:-5], *arrays[-5:], **static),)


def _rechosen_shapes(*arguments, **static) -> tuple[tuple[int, ...]]:
    weights, places = arguments[-4], arguments[-1]
    return ((weights.shape[0], *places.shape[1:]),)


def _numbers(words: Array) -> Array:
    """float64 from pairs of 32 bits.

    The call-back's thread does not know that x64 is enabled, and would cut them to 32 bits.
    """
    return lax.bitcast_convert_type(words, np.float64)


def _operation(name: str, function: Callable, shapes_of: Callable) -> Primitive:
    """A host's function of arrays and static arguments as a primitive.

    Args:
      shapes_of: the shapes of its results, which are float64, from the same arguments.
    """
    primitive = Primitive(name)
    primitive.multiple_results = True

    @primitive.def_abstract_eval
    def _shapes(*arguments, **static):
        shapes = shapes_of(*arguments, **static)
        return [jax.core.ShapedArray((*shape, 2), np.dtype(np.uint32)) for shape in shapes]

    def lower(context, *operands, **static):
        def call(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
            found = function(*arrays, **static)
            return tuple(numbers[..., None].view(np.uint32) for numbers in found)

        ins, outs = context.avals_in, context.avals_out
        results, _, _ = mlir.emit_python_callback(
            context, call, None, operands, ins, outs, has_side_effect=False
        )
        return results

    mlir.register_lowering(primitive, lower, platform="cpu")
    return primitive


_fit = _operation("ecjax_host_fit", _fit_host, _fit_shapes)
_nested = _operation("ecjax_host_nested_fit", _nested_host, _nested_shapes)
_kept = _operation("ecjax_host_fit_kept", _kept_host, _kept_shapes)
_rechosen = _operation("ecjax_host_choose_again", _rechosen_host, _rechosen_shapes)
