"""GeoCLIP's encoder against its definition in float64, and against the real tables."""

import importlib.util

import jax
import make_checkpoints as make
import numpy as np
import pandas as pd
import pytest

from ecjax import geoclip, location_encoder
from ecjax.errors import InputError
from ecjax.geoclip import GeoCLIP, installed_weights, projected

# Poles, date line, equator, and places between.
LAT = np.array([90, -90, 0, 0, 51.5, -33.9, 12.25, -0.001])
LON = np.array([0, 12, 180, -180, -0.1, 151.2, -179.999, 0.001])


def plane(lat, lon):
    """Equal earth as published, in float64."""
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    lat, lon = np.radians(lat), np.radians(lon)
    theta = np.arcsin(np.sqrt(3) / 2 * np.sin(lat))
    slope = 9 * a4 * theta**8 + 7 * a3 * theta**6 + 3 * a2 * theta**2 + a1
    x = 2 * np.sqrt(3) * lon * np.cos(theta) / (3 * slope)
    y = a4 * theta**9 + a3 * theta**7 + a2 * theta**3 + a1 * theta
    return np.stack([x, y], axis=1) * 66.50336 / 180


def reference(state, lat, lon, scales):
    """GeoCLIP's location encoder in float64."""
    vectors = 0
    for place in range(scales):
        get = {key.removeprefix(f"LocEnc{place}."): np.float64(v) for key, v in state.items()}
        phases = 2 * np.pi * plane(lat, lon) @ get["capsule.0.b"].T
        units = np.concatenate([np.cos(phases), np.sin(phases)], axis=1)
        for layer in (1, 3, 5):
            bias = get[f"capsule.{layer}.bias"]
            units = np.maximum(units @ get[f"capsule.{layer}.weight"].T + bias, 0)
        vectors = vectors + units @ get["head.0.weight"].T + get["head.0.bias"]
    return vectors


def test_the_projection_is_equal_earths():
    """The width of the equator and the height of a pole are those of the publication."""
    np.testing.assert_allclose(projected(LAT, LON), plane(LAT, LON), rtol=3e-6, atol=1e-7)
    assert projected(LAT, LON).dtype == np.float32
    (_, top), (right, _) = plane([90, 0], [0, 180]) * 180 / 66.50336
    assert top == pytest.approx(1.3173627591574) and right == pytest.approx(2.7066299836960)


@pytest.mark.parametrize("prefix", ["", "location_encoder."])
def test_vectors_are_those_of_the_definition(tmp_path, monkeypatch, prefix):
    monkeypatch.setattr(location_encoder, "BATCH", 5)
    state = make.geoclip_state(scales=(1.0, 4.0, 16.0))
    path = make.save(tmp_path / "w.pth", {prefix + key: value for key, value in state.items()})
    found = GeoCLIP(path).encode(LAT, LON)
    assert found.dtype == np.float32 and found.shape == (8, 5)
    np.testing.assert_allclose(found, reference(state, LAT, LON, 3), rtol=0, atol=2e-5)
    # The order of the arguments matters, and so do all scales.
    assert np.abs(found - reference(state, LON / 2, LAT * 2, 3)).max() > 0.1
    assert np.abs(found - reference(state, LAT, LON, 2)).max() > 0.1


def test_safetensors_are_weights_too(tmp_path):
    state = make.geoclip_state()
    pth = GeoCLIP(make.save(tmp_path / "w.pth", state))
    safe = GeoCLIP(make.save_safetensors(tmp_path / "w.safetensors", state))
    np.testing.assert_array_equal(pth.encode(LAT, LON), safe.encode(LAT, LON))
    assert pth.version.startswith("w.pth sha256:") and pth.sha256 != safe.sha256


def test_global_options_do_not_matter(tmp_path):
    model = GeoCLIP(make.save(tmp_path / "w.pth", make.geoclip_state()))
    found = model.encode(LAT, LON)
    with jax.enable_x64(True), jax.default_matmul_precision("bfloat16"):
        np.testing.assert_array_equal(model.encode(LAT, LON), found)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.clear(), 'holds no weights of GeoCLIP: "LocEnc0.capsule.0.b" is not among'),
        (lambda s: s.pop("LocEnc1.head.0.bias"), 'lacks the tensor "LocEnc1.head.0.bias"'),
        (lambda s: s.update({"LocEnc1.head.0.bias": 3}), 'lacks the tensor "LocEnc1.head.0.bias"'),
        (
            lambda s: s.update({"LocEnc0.capsule.3.weight": np.zeros((16, 15), np.float32)}),
            '"LocEnc0.capsule.3.weight" is 16 × 15, not any × 16',
        ),
        (
            lambda s: s.update({"LocEnc1.head.0.weight": np.zeros((4, 16), np.float32)}),
            '"LocEnc1.head.0.weight" is 4 × 16, not 5 × 16',
        ),
        (
            lambda s: s.update({"LocEnc1.capsule.0.b": np.float32([[1, np.nan]] * 6)}),
            '"LocEnc1.capsule.0.b" holds what is no number',
        ),
    ],
)
def test_other_weights_are_refused(tmp_path, change, told):
    state = make.geoclip_state()
    change(state)
    path = make.save(tmp_path / "w.pth", state)
    with pytest.raises(InputError) as caught:
        GeoCLIP(path)
    assert str(caught.value).startswith(f"{path}: ") and told in str(caught.value)


def test_the_installed_weights_are_found_without_importing(tmp_path, monkeypatch):
    folder = tmp_path / "geoclip" / "model" / "weights"
    folder.mkdir(parents=True)
    (tmp_path / "geoclip" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"pip install --no-deps geoclip"):
        GeoCLIP()
    path = make.save(folder / "location_encoder_weights.pth", make.geoclip_state())
    assert installed_weights() == path and GeoCLIP().dims == 5


REAL = [
    ("biomass", "biomass_cleaned_centre", 4585),
    ("cropharvest200", "cropharvest_cleaned_global_threshold-200-sample", 3600),
]


@pytest.mark.skipif(
    importlib.util.find_spec("geoclip") is None,
    reason=f"needs the published weights: {geoclip.INSTALL}",
)
@pytest.mark.parametrize(("sample", "labels", "n"), REAL)
def test_vectors_are_those_of_the_public_package(paper_data, sample, labels, n):
    data = paper_data / "data"
    table = pd.read_parquet(data / "geoclip" / f"{sample}_geoclip.parquet").set_index("id")
    places = pd.read_csv(data / "downstream_tasks" / f"{labels}.csv").set_index("index")
    places, model = places.loc[table.index], GeoCLIP()
    found = np.float64(model.encode(places.lat.to_numpy(), places.lon.to_numpy()))
    expected = table.to_numpy(np.float64)
    assert found.shape == expected.shape == (n, 512)
    lengths = np.linalg.norm(expected, axis=1)
    difference = np.linalg.norm(found - expected, axis=1) / lengths
    cosine = (found * expected).sum(axis=1) / lengths / np.linalg.norm(found, axis=1)
    assert np.median(difference) <= 1e-5 and difference.max() <= 1e-3
    assert cosine.min() >= 0.999999
