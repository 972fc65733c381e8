"""What is compiled for devices that are not here: no callbacks, no product of unstated precision.

`jax.export` lowers the study program for CUDA and for TPUs on a machine that has neither. A CPU
cannot show TF32 or bfloat16, which float32 products silently become there.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from ecjax import engine
from ecjax.arrays import Task, align_arrays
from ecjax.plan import make_plan
from ecjax.precision import DeviceFacts
from ecjax.program import Penalties
from ecjax.settings import Settings

DEVICES = {
    "cuda": DeviceFacts("gpu", "NVIDIA H100 80GB HBM3", 80 * 2**30),
    "tpu": DeviceFacts("tpu", "TPU v5 lite", 16 * 2**30),
}
# Custom calls that JAX brings for a platform and the study may make. A TPU's compiler has Cholesky
# factorisation and triangular solves of its own, CUDA's has the latter. All else is a fault, such
# as a CPU's LAPACK and BLAS, or a call back into Python.
ALLOWED = {"cuda": {"cusolver_potrf_ffi", "shape_assertion"}, "tpu": {"shape_assertion"}}
HOST = ("infeed", "outfeed", "send", "recv")
PRODUCTS = ("dot_general", "dot", "convolution")


def lowered(function, platform: str, *arguments) -> str:
    """StableHLO of a jitted function for a platform."""
    with jax.enable_x64(True):
        return export.export(function, platforms=[platform])(*arguments).mlir_module()


def operations(text: str, name: str) -> list[str]:
    """The lines that hold an operation, in either of the forms that MLIR prints."""
    return [line for line in text.splitlines() if re.search(rf"= \"?stablehlo\.{name}\b", line)]


def faults(text: str, platform: str) -> list[str]:
    """What a lowered program should not hold, one line each."""
    found = []
    for line in operations(text, "custom_call"):
        (target,) = re.findall(r"custom_call\"? ?@\"?([\w.$]+)", line) or ["?"]
        if target not in ALLOWED[platform]:
            found.append(f"calls {target}")
    for name in HOST:
        found += [f"speaks to the host by {name}" for _ in operations(text, name)]
    for name in PRODUCTS:
        for line in operations(text, name):
            if "precision = [HIGHEST, HIGHEST]" not in line:
                found.append(f"{name} of unstated precision: {line.strip()}")
    return found


def study(platform: str, route: str, **arguments):
    """Arguments of `engine.study` as planned for a device: both kinds of task, seven subsets."""
    rng = np.random.default_rng(0)
    n = 60
    embeddings = {name: rng.normal(size=(n, w)) for name, w in {"a": 5, "b": 3, "c": 2}.items()}
    tasks = {
        "soil": rng.normal(size=(n, 2)),
        "height": rng.normal(size=n),
        "land": Task(rng.integers(0, 3, n), kind="classification"),
    }
    asked = {"predictions": True, "protocol": "paper"} | arguments
    settings = Settings(folds=13, seeds=2, **asked)  # folds of 4 and of 5 rows
    plan = make_plan(align_arrays(embeddings, tasks), settings, DEVICES[platform], route)
    (chunk,) = plan.chunks
    programs = tuple(plan.program(piece, settings.predictions) for piece in chunk)
    data = tuple(plan.data(piece) for piece in chunk)
    return programs, data, Penalties(*(np.float64(v) for v in (1, 1, 1e-5)))


@pytest.mark.parametrize(
    "platform, route, dtype",
    [("cuda", "gram", "float64"), ("cuda", "hat", "float64"), ("tpu", "cheaper", "float32")],
)
def test_the_study_runs_on_its_device_alone_and_states_its_precision(platform, route, dtype):
    programs, data, penalties = study(platform, route)
    (program,), (sample,) = programs, data
    assert program.dtype == dtype and program.at_once == program.fits_at_once == 13
    assert (program.gram is None) == (route == "hat") and (program.hat is None) == (route != "hat")
    assert len(program.lattice.subsets) == 7 and sample.y.shape[1] == 3 and len(sample.labels) == 1
    text = lowered(engine.study, platform, programs, data, penalties)
    assert len(operations(text, "dot_general")) > 50
    assert faults(text, platform) == []
    factored = operations(text, "(cholesky|triangular_solve)") + operations(text, "custom_call")
    assert factored
    if dtype == "float32":  # a TPU emulates float64: sums and products are enough of it
        assert not [line for line in factored if "f64" in line]


@pytest.mark.parametrize(
    "platform, route, protocol",
    [
        ("cuda", "gram", "paper"),
        ("cuda", "hat", "paper"),
        ("cuda", "cheaper", "strict"),
        ("tpu", "cheaper", "paper"),
    ],
)
def test_without_predictions_all_else_is_the_same(platform, route, protocol):
    arguments = [
        study(platform, route, protocol=protocol, predictions=yes) for yes in (True, False)
    ]
    with jax.enable_x64(True):
        (given,), (less,) = (jax.eval_shape(engine.study, *a) for a in arguments)
    assert less.regression == given.regression._replace(predictions=None)
    classes = [of_task._replace(probabilities=None) for of_task in given.classification]
    assert list(less.classification) == classes


X = np.ones((4, 4), np.float32)


def called_back(x):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def printed(x):
    jax.debug.print("{}", x)
    return x


@pytest.mark.parametrize(
    "function, platform, fault",
    [
        (lambda x: x @ x, "tpu", "dot_general of unstated"),
        (lambda x: jnp.einsum("ij,kj->ik", x.astype(float), x), "cuda", "dot_general of unstated"),
        (lambda x: jnp.matmul(x, x, precision=lax.Precision.HIGH), "cuda", "dot_general of"),
        (
            lambda x: jnp.matmul(x, x, precision=(lax.Precision.HIGHEST, lax.Precision.DEFAULT)),
            "cuda",
            "dot_general of",
        ),
        (jnp.linalg.cholesky, "cpu", "calls lapack_"),
        (jnp.linalg.eigh, "cuda", "calls cusolver_"),
    ],
)
def test_a_fault_is_found(function, platform, fault):
    text = lowered(jax.jit(function), platform, X)
    allowed = "cuda" if platform == "cpu" else platform
    assert any(line.startswith(fault) for line in faults(text, allowed)), faults(text, allowed)


@pytest.mark.parametrize("function", [called_back, printed])
@pytest.mark.parametrize("platform", ["cpu", *DEVICES])
def test_a_callback_is_not_even_lowered(function, platform):
    with pytest.raises((ValueError, NotImplementedError), match="platform|callback"):
        lowered(jax.jit(function), platform, X)
