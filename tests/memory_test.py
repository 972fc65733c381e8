"""Estimates of memory against what compiled programs take."""

import dataclasses

import jax
import numpy as np
import pytest

import ecjax
from ecjax import engine, memory
from ecjax.arrays import align_arrays
from ecjax.plan import make_plan
from ecjax.program import Penalties
from ecjax.settings import Settings

CPU = jax.devices("cpu")[0]
N = 1500


def planned(kind, widths=(60,), **arguments):
    rng = np.random.default_rng(0)
    embeddings = {
        name: rng.normal(size=(N, width)) for name, width in zip("ab", widths, strict=False)
    }
    y = rng.normal(size=(N, 3)) if kind == "regression" else rng.integers(0, 4, N)
    lat, lon = rng.uniform(-5, 5, size=(2, N))
    split = np.where(rng.random(N) < 0.3, "test", "train")
    task = ecjax.Task(y, kind=kind, lat=lat, lon=lon, split=split)
    plan = make_plan(align_arrays(embeddings, {"t": task}), Settings(**arguments), CPU)
    (piece,) = plan.chunks[0]
    return plan, piece


@pytest.mark.parametrize(
    "widths, arguments",
    [
        ((40, 20), {"split": "column"}),
        (
            (60,),
            {"protocol": "strict", "split": "spatial", "folds": 4, "buffer_km": 50.0, "seeds": 2,
             "predictions": True},
        ),
    ],
)  # fmt: skip
def test_estimates_are_above_what_the_compiled_route_takes_and_not_far(widths, arguments):
    plan, piece = planned("regression", widths, **arguments)
    way = plan.way(piece)._replace(on_host=False)
    program = dataclasses.replace(plan.program(piece, way.predictions), on_host=False)
    with jax.enable_x64(True):
        penalties = Penalties(*(np.float64(v) for v in (1, 1, 1e-5)))
        lowered = engine.study.lower((program,), (plan.data(piece),), penalties)
        found = lowered.compile().memory_analysis()
    taken = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    estimate = memory.piece_bytes(plan.samples[0], piece, way)
    assert taken <= estimate <= 4 * taken


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_what_strict_takes_grows_with_what_it_does(kind):
    base = {"protocol": "strict", "split": "spatial", "folds": 6, "inner_folds": 2}
    base |= {"ridge_lambda": (1.0,), "logistic_c": (1.0,)}

    def size(**more):
        plan, piece = planned(kind, **(base | more))
        return plan.bytes(piece)

    assert size() > size(protocol="paper", inner_folds=None)
    assert size(inner_folds=4) > size()
    assert size(seeds=3) > size()
    if kind == "classification":
        assert size(logistic_c=(1.0, 2.0, 3.0)) > size()


@pytest.mark.parametrize("size, text", [(3 * 2**30, "3.00 GiB"), (5 * 2**20, "5.00 MiB")])
def test_sizes_in_words(size, text):
    assert memory.size_text(size) == text
