"""`host.fit` as an operation of a compiled program on a CPU.

It does what `jax.pure_callback(host.fit, …)` would do, but gives `host.fit` its arrays as they are.
`pure_callback` makes arrays of JAX of them first. JAX's threads then copy the large ones, and there
are as many threads as cores: a call-back that waits for a copy holds one of them, and where all are
held, as on one core always, the program waits for ever.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import mlir

from ecjax import host
from ecjax.host import HeldOut
from ecjax.subsets import Lattice

_fit = Primitive("ecjax_host_fit")
_fit.multiple_results = True


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
    divided = scored is None
    arguments = (*blocks, y, ridge_lambda, held_out, *([] if divided else [scored]))
    found = _fit.bind(*arguments, lattice=lattice, residuals=residuals, divided=divided)
    return HeldOut(*(lax.bitcast_convert_type(words, np.float64) for words in found))


@_fit.def_abstract_eval
def _shapes(*arguments, lattice: Lattice, residuals: bool, divided: bool):
    """Of `HeldOut`, its numbers as pairs of 32 bits.

    The call-back's thread does not know that x64 is enabled, and would cut them to 32 bits.
    """
    y = arguments[-3 if divided else -4]
    (r, k, h), (n, t), s = arguments[-1].shape, y.shape, len(lattice.subsets)
    shapes = (r, k, s, t), (t, n, s), (r, k, h if residuals else 0, s, t)
    return [jax.core.ShapedArray((*shape, 2), np.dtype(np.uint32)) for shape in shapes]


def _lower(context, *operands, lattice: Lattice, residuals: bool, divided: bool):
    def call(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        arrays, scored = (arrays, None) if divided else (arrays[:-1], arrays[-1])
        *blocks, y, ridge_lambda, held_out = arrays
        found = host.fit(blocks, y, held_out, ridge_lambda, lattice, residuals, scored)
        return tuple(numbers[..., None].view(np.uint32) for numbers in found)

    ins, outs = context.avals_in, context.avals_out
    results, _, _ = mlir.emit_python_callback(
        context, call, None, operands, ins, outs, has_side_effect=False
    )
    return results


mlir.register_lowering(_fit, _lower, platform="cpu")
