"""Encoders of other packages: how they are found, and what they must return."""

from importlib.metadata import EntryPoint

import numpy as np
import pytest

from ecjax import own_encoder
from ecjax.errors import InputError
from ecjax.models import Places
from ecjax.own_encoder import Encoder

PLACES = Places(np.array([10.0, 20.0, 30.0]), np.array([1.0, 2.0, 3.0]), np.full(3, 2021))


def encode(lat, lon, year):
    values = np.stack([lat, lon, year, lat - lon], axis=1)
    lat[:] = 0  # its own to spoil
    return values


class Class:
    dims, version, licence, timeless = 2, "weights 3", "CC0", True

    def encode(self, lat, lon, year):
        return np.stack([lat, np.where(lat > 25, np.nan, lon)], axis=1) + np.where(
            lat[:, None] > 25, np.nan, 0
        )


def no_rows(lat, lon, year):
    return np.zeros((2, 4))


def no_width(lat, lon, year):
    return np.zeros((3, 0))


def a_number(lat, lon, year):
    return 1.0


def of_text(lat, lon, year):
    return np.full((3, 2), "x")


def half_nan(lat, lon, year):
    return np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]])


def too_large(lat, lon, year):
    return np.array([[1.0, 2.0], [3.0, 1e39], [5.0, 6.0]])


def raises(lat, lon, year):
    raise KeyError("no\nweights")


def growing(lat, lon, year):
    return np.zeros((3, growing.calls.append(0) or 1 + len(growing.calls)))


growing.calls = []
nothing = 7


class Broken:
    def __init__(self):
        raise OSError("no file of weights")


def entry(value):
    return EntryPoint("mine", f"own_encoder_test:{value}", own_encoder.GROUP)


def test_a_function_is_called_with_places():
    model = Encoder(entry("encode"))
    found = model.read(PLACES)
    expected = [[10, 1, 2021, 9], [20, 2, 2021, 18], [30, 3, 2021, 27]]
    assert found.values.dtype == np.float32 and found.values.tolist() == expected
    assert found.reason.tolist() == ["", "", ""]
    assert (model.version, model.dims, model.timeless) == ("own_encoder_test:encode", 4, False)
    assert PLACES.lat.tolist() == [10.0, 20.0, 30.0]


def test_an_installed_package_is_found(tmp_path, monkeypatch):
    folder = tmp_path / "vectors_of_mine-1.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: of-mine\nVersion: 1.2\n")
    lines = f"[{own_encoder.GROUP}]\nfrom-a-package = own_encoder_test:encode\n"
    (folder / "entry_points.txt").write_text(lines)
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = own_encoder.registered()["from-a-package"]
    assert Encoder(found).version == "of-mine 1.2"


def test_a_class_is_made_and_its_attributes_are_taken():
    model = Encoder(entry("Class"))
    assert (model.dims, model.version, model.licence) == (2, "weights 3", "CC0")
    assert model.timeless
    found = model.read(PLACES)
    assert np.isnan(found.values[2]).all() and found.values[1].tolist() == [20, 2]
    assert found.reason.tolist() == ["", "", "none from the encoder"]


def test_parts_hold_each_place_once():
    many = Places(*np.zeros((3, 2500)))
    parts = Encoder(entry("encode")).parts(many)
    assert [len(rows) for rows in parts] == [1024, 1024, 452]
    assert np.array_equal(np.concatenate(parts), np.arange(2500))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_rows", r"shape \(2, 4\) for 3 places, but \(3, p\) is wanted"),
        ("no_width", r"shape \(3, 0\) for 3 places"),
        ("a_number", r"shape \(\) for 3 places"),
        ("of_text", "array of <U1, but floats are wanted"),
        ("half_nan", "1 vector of 3 hold values that are not finite, first nan at lat 20.0, lon 2"),
        ("too_large", "1 vector of 3 hold .* first inf at lat 20.0"),
        ("raises", r"failed for 3 places \(KeyError: .*no.*weights"),
    ],
)
def test_what_an_encoder_must_not_return(name, says):
    with pytest.raises(InputError, match=says) as caught:
        Encoder(entry(name)).read(PLACES)
    assert f'encoder "mine" (entry point "own_encoder_test:{name}")' in str(caught.value)


def test_a_width_that_changes_is_refused():
    model = Encoder(entry("growing"))
    model.read(PLACES)
    with pytest.raises(InputError, match=r"shape \(3, 3\) for 3 places, but \(3, 2\) is wanted"):
        model.read(PLACES)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent", "cannot be loaded .AttributeError"),
        ("Broken", "cannot be loaded .OSError: no file of weights"),
        ("nothing", "is a int, but a function of lat, lon and year is wanted"),
    ],
)
def test_what_cannot_be_an_encoder(name, says):
    with pytest.raises(InputError, match=says):
        Encoder(entry(name))
