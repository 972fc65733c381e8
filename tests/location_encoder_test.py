"""What all encoders have in common: parts, estimates, what is told of a vector, batches."""

import make_checkpoints as make
import numpy as np
import pytest

from ecjax import location_encoder
from ecjax.geoclip import GeoCLIP
from ecjax.location_encoder import in_batches
from ecjax.models import Places


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(location_encoder, "BATCH", 8)
    monkeypatch.setattr(location_encoder, "PART", 16)
    return GeoCLIP(make.save(tmp_path / "weights.pth", make.geoclip_state()))


def places(n):
    rng = np.random.default_rng(n)
    return Places(rng.uniform(-90, 90, n), rng.uniform(-180, 180, n), np.full(n, 2021))


@pytest.mark.parametrize(("n", "sizes"), [(0, []), (1, [1]), (16, [16]), (35, [16, 16, 3])])
def test_parts_are_blocks_of_rows(model, n, sizes):
    parts = model.parts(places(n))
    assert [len(part) for part in parts] == sizes
    assert [row for part in parts for row in part] == list(range(n))


def test_a_part_has_the_vectors_of_the_whole(model):
    there = places(35)
    whole = model.read(there)
    assert whole.values.shape == (35, 5) and whole.values.dtype == np.float32
    for rows in model.parts(there):
        part = model.read(there.at(rows))
        np.testing.assert_array_equal(part.values, whole.values[rows])
    assert set(whole.tile) == {"weights.pth"} and set(whole.reason) == {""}
    assert set(whole.checksum) == {f"sha256:{model.sha256}"}
    assert len(whole.tile) == len(whole.reason) == len(whole.checksum) == 35
    assert model.read(places(0)).values.shape == (0, 5)


def test_an_estimate_is_of_seconds_alone(model):
    found = model.estimate(places(35))
    assert (found.requests, found.nbytes) == (0, 0) and found.cost.startswith("nothing")
    assert found.seconds == 5 * model.estimate(places(3)).seconds > 0
    assert model.estimate(places(0)).seconds == 0


def test_batches_are_of_one_size(monkeypatch):
    monkeypatch.setattr(location_encoder, "BATCH", 4)
    seen = []

    def double(rows):
        seen.append(rows.shape)
        return np.stack([2 * rows[:, 0], rows[:, 1]], axis=1)

    inputs = np.arange(20.0).reshape(10, 2)
    np.testing.assert_array_equal(in_batches(double, inputs, 2), inputs * [2, 1])
    assert seen == [(4, 2)] * 3
    assert in_batches(double, inputs[:0], 2).shape == (0, 2)
