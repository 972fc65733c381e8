"""What may be a leak is told and not refused, each kind as what it is; features are let pass."""

import dataclasses
import time

import numpy as np
import pandas as pd
import pytest

import ecjax
from ecjax import suspects
from ecjax.arrays import align_arrays
from ecjax.notes import in_words

N = 500
RNG = np.random.default_rng(5)
IDS = RNG.permutation(N)
LAT, LON = RNG.uniform(-60, 60, N), RNG.uniform(-170, 170, N)
Y = RNG.normal(size=N)
LABELS = RNG.integers(0, 6, N)
SOURCE = RNG.integers(0, 25, N)
NOISE = 0.02 * RNG.normal(size=N)
PLANTED = {
    "target": (Y + NOISE, suspects.TARGET, "the target height"),
    "bent": (np.where(Y > 0, 9 - Y, Y), suspects.TARGET, "the target height"),
    "position": (IDS + N * NOISE / 4, suspects.POSITION, "the id"),
    "coordinate": (LAT + 10 * NOISE, suspects.POSITION, "the coordinate lat"),
    "mix": (LAT - LON, suspects.PLACE, "latitude, longitude"),
    "mean": (pd.Series(Y).groupby(SOURCE).transform("mean"), suspects.MEAN, "the target height"),
    "source": ((SOURCE % 3) * 1.0, suspects.SOURCE, "group"),
    "blocks": ((IDS > 300) * 1.0, suspects.ORDER, "the id"),
    "code": ((Y + 30 * NOISE > 0) * 1.0, suspects.CODE, "the target height"),
}


def aligned(column, y=Y, **keys):
    table = pd.DataFrame(RNG.normal(size=(N, 8)), columns=[f"emb_{j}" for j in range(8)])
    if column is not None:
        table["emb_8"] = np.asarray(column)
    group = [f"g{i}" for i in SOURCE]
    task = ecjax.Task(y, id=IDS, lat=LAT, lon=LON, group=group, **keys)
    (found,) = align_arrays({"model": table}, {"height": task})
    return found


@pytest.mark.parametrize("name", PLANTED)
def test_each_kind_is_told(name):
    column, kind, what = PLANTED[name]
    task = aligned(column)
    (found,) = task.suspects["model"]
    assert (found.column, found.kind, found.what) == ("emb_8", kind, what)
    (note,) = [note for note in task.notes if note.reason.startswith("suspected leak")]
    assert note.source == "model" and (note.count, note.first) == (1, "emb_8")
    assert in_words(note) == f'"model": 1 column that may be a leak, {kind} (first: "emb_8")'


@pytest.mark.parametrize("wrong", [0.0, 0.01])
def test_a_noisy_code_of_the_class(wrong):
    seen = np.where(RNG.random(N) < wrong, 0, LABELS)
    task = aligned(seen + NOISE, LABELS, kind="classification")
    assert [one.kind for one in task.suspects["model"]] == [suspects.CLASS]
    indicator = (LABELS == 3) + NOISE / 4
    task = aligned(indicator, LABELS, kind="classification")
    assert [one.what for one in task.suspects["model"]] == ["whether the class is 3"]


def test_features_are_not_suspected():
    rng = np.random.default_rng(6)
    for column in (None, Y + 0.5 * rng.normal(size=N), np.sin(LAT / 10), rng.integers(0, 3, N)):
        assert aligned(column).suspects == {"model": ()}
    assert aligned(rng.integers(0, 3, N), LABELS, kind="classification").suspects == {"model": ()}


def test_few_rows_tell_nothing_and_few_columns_do():
    y = Y[: suspects.FEWEST_ROWS - 1]
    given = suspects.References(orders={}, targets={"y": y})
    near = y[:, None] + 1e-3 * NOISE[: len(y), None]
    assert suspects.find_suspects(near, ["a"], given) == []
    given = suspects.References(orders={}, targets={"y": Y})
    assert len(suspects.find_suspects((Y + NOISE)[:, None], ["a"], given)) == 1


def test_suspicion_takes_a_fraction_of_a_second():
    rng = np.random.default_rng(0)
    n, p = 10_000, 960
    matrix = rng.normal(size=(n, p)).astype(np.float32)
    names = [f"emb_{j}" for j in range(p)]
    lat, lon = rng.uniform(-60, 60, (2, n))
    given = suspects.References(
        orders={"id": rng.permutation(n)}, coordinates={"lat": lat, "lon": lon}, lat=lat, lon=lon
    )
    numbers = dataclasses.replace(given, targets={f"t{i}": rng.normal(size=n) for i in range(20)})
    classes = dataclasses.replace(given, labels=rng.integers(0, 18, n))
    for references in (numbers, classes):
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            assert suspects.find_suspects(matrix, names, references) == []
            seconds.append(time.perf_counter() - start)
        assert min(seconds) < 1.0  # 0.03 to 0.08 s on an idle core
