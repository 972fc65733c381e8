"""What a stream is said to cost is what it takes, counted at the calls of the host's BLAS."""

import math

import numpy as np
import pytest
from make_streams import write_study

from ecjax import blas, host, stream_cost, stream_evaluate
from ecjax.settings import from_arguments
from ecjax.stream_cost import Shape
from ecjax.subsets import build_lattice

# Embeddings a, b and c of `make_streams`, whose widths are in the lattice's order already.
LATTICE = build_lattice((6, 3, 2), [(0,), (1,), (2,), (0, 1)])
N = 1500


@pytest.fixture
def counted(monkeypatch):
    """Operations of products so far, by routine."""
    total = {"dgemm": 0.0, "dsyrk": 0.0}
    call = blas._call

    def counting(name, options, *values):
        sizes = [value for value in values if isinstance(value, int)]
        if name in total:
            total[name] += math.prod(sizes) * (2 if name == "dgemm" else sizes[0])
        return call(name, options, *values)

    monkeypatch.setattr(blas, "_call", counting)
    return total


def evaluated(folder, counted, kind, target, budget, **arguments):
    study = write_study(folder, n=N, targets=(target,), kind=kind)
    settings = from_arguments({"split": "hash", "subsets": ["a+b", "c"]} | arguments)
    passes = []

    def progress(what, done, rows):
        if done == rows:
            passes.append(what)

    found = stream_evaluate.evaluate(study, settings, budget, progress=progress)
    return sum(counted.values()), len(passes), found


@pytest.mark.parametrize("protocol", ["paper", "strict"])
def test_logistic_fits_cost_about_what_is_said(tmp_path, counted, protocol):
    budget, strict = 4e5, protocol == "strict"
    arguments = {"folds": 4, "protocol": protocol}
    if strict:
        arguments |= {"inner_folds": 2, "logistic_c": [0.001, 0.01]}
    found, passes, _ = evaluated(tmp_path, counted, "classification", "biome", budget, **arguments)
    shape = Shape(N, LATTICE, 4, 1, strict, 2, 2)
    said = stream_cost.logistic(shape, 3, budget, host.available_cores())
    assert 0.5 < said.passes / passes < 2
    # Said of many correlated columns; these few take fewer steps.
    assert 0.5 < sum(said.operations[1:]) / found < 4
    assert said.bytes_read == N * (11 * 4 + 8)


def test_a_sample_that_holds_all_rows_takes_no_pass():
    shape = Shape(N, LATTICE, 5, 1, False)
    said = stream_cost.logistic(shape, 3, 1e9, 2)
    assert said.passes == 2 and stream_cost.sample_rows(N, 11, 3, 1e9, 2) == N
    assert stream_cost.sample_rows(N, 11, 3, 1e4, 2) == 0


@pytest.mark.parametrize("protocol", ["paper", "strict"])
def test_ridge_costs_what_is_said(tmp_path, counted, protocol):
    strict = protocol == "strict"
    arguments = {"folds": 4, "protocol": protocol}
    if strict:
        arguments |= {"inner_folds": 3, "ridge_lambda": [1.0, 10.0]}
    found, passes, streamed = evaluated(tmp_path, counted, "regression", "u", 1e7, **arguments)
    shape = Shape(N, LATTICE, 4, 1, strict, 3, 2)
    said = stream_cost.ridge(shape, 1, 1e7)
    first, fits, after = said.operations
    assert said.passes == passes == 2
    assert first == N * 12**2 and after == N * 2 * 11 * 4 * (2 if strict else 1)
    # What is multiplied beside them, once a fold or a batch, is little.
    assert 0.7 < (first + after + fits) / found < 1.3
    sizes = [np.prod(a.shape) for result in streamed.results for a in result.sums[:3]]
    assert said.peak_bytes > 8 * sum(sizes)
