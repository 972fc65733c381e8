"""SatCLIP's harmonics against SciPy's and the published formulas, its vectors against both."""

import sys
import types

import encoder_reference
import jax
import make_checkpoints as make
import numpy as np
import pytest
from scipy import special

from ecjax import location_encoder, satclip
from ecjax.errors import InputError
from ecjax.models import Unavailable
from ecjax.satclip import SatCLIP, from_hub, harmonics

# Poles, their surroundings, the equator, the date line from both sides.
LATITUDES = np.array([-90, -89.999, -45, -1e-9, 0, 23.4, 67, 89.9999999, 90])
LONGITUDES = np.array([-180, -179.999, -90, -1e-9, 0, 45.5, 180])
LAT, LON = (axis.ravel() for axis in np.meshgrid(LATITUDES, LONGITUDES))
# Where sqrt(1 - cos² θ), as published, has lost digits.
NEAR = (np.abs(LAT) > 89) & (np.abs(LAT) < 90)


def scipys(lat, lon, degrees):
    """(n, L²) orthonormal real harmonics of lat and lon, without the Condon-Shortley phase."""
    columns = []
    for degree in range(degrees):
        for order in range(-degree, degree + 1):
            m = abs(order)
            y = special.sph_harm_y(degree, m, np.radians(90 - lat), np.radians(lon))
            part = y.imag if order < 0 else y.real
            columns.append(np.sqrt(2) * (-1) ** m * part if m else part)
    return np.stack(columns, axis=1)


def signs(degrees, calculation):
    """What the published ones are in units of `scipys`."""
    pairs = [(d, m) for d in range(degrees) for m in range(-d, d + 1)]
    if calculation == "analytic":
        return np.array([(-1) ** d * (np.pi if m == 0 else 1) for d, m in pairs])
    return np.array([(-1) ** (d + m) for d, m in pairs])


@pytest.mark.parametrize("calculation", satclip.CALCULATIONS)
def test_harmonics_are_scipys(calculation):
    found = harmonics(LAT, LON, 40, calculation)
    assert found.shape == (63, 1600) and found.dtype == np.float64
    expected = scipys(LAT, LON, 40) * signs(40, calculation)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_fewer_degrees_are_the_first_columns():
    whole = harmonics(LAT, LON, 12)
    for degrees in (1, 2, 10):
        np.testing.assert_array_equal(harmonics(LAT, LON, degrees), whole[:, : degrees**2])


def test_harmonics_are_the_published_formulas():
    """The generated expressions of l ≤ 3, with θ = latitude + 90° and φ = longitude + 180°."""
    phi, theta = np.radians(LON + 180), np.radians(LAT + 90)
    x, s, one = np.cos(theta), np.sqrt(1 - np.cos(theta) ** 2), np.ones_like(theta)
    of_1, of_2, of_3 = 0.48860251190292 * s, 1.09254843059208 * s * x, 0.18209140509868
    of_3_3, of_3_2 = 0.590043589926644 * s**3, 1.44530572132028 * s**2 * x
    of_3_1 = 0.304697199642977 * s * (7.5 * x**2 - 1.5)
    cos, sin = np.cos, np.sin
    expected = [
        0.886226925452758 * one,
        *(of_1 * sin(phi), 1.53499006191973 * x, of_1 * cos(phi)),
        of_3 * (3 - 3 * x**2) * sin(2 * phi),
        *(of_2 * sin(phi), 2.97249547320451 * x**2 - 0.990831824401503, of_2 * cos(phi)),
        of_3 * (3 - 3 * x**2) * cos(2 * phi),
        *(of_3_3 * sin(3 * phi), of_3_2 * sin(2 * phi), of_3_1 * sin(phi)),
        5.86184012479344 * x**3 - 3.51710407487606 * x,
        *(of_3_1 * cos(phi), of_3_2 * cos(2 * phi), of_3_3 * cos(3 * phi)),
    ]
    check_as_published(harmonics(LAT, LON, 4), np.stack(expected, axis=1), 2e-14)


def check_as_published(found, expected, tolerance):
    np.testing.assert_allclose(found[~NEAR], expected[~NEAR], rtol=0, atol=tolerance)
    np.testing.assert_allclose(found[NEAR], expected[NEAR], rtol=0, atol=3e-8)


@pytest.mark.parametrize("calculation", satclip.CALCULATIONS)
def test_harmonics_are_those_of_the_definition(calculation):
    expected = encoder_reference.features(np, LAT, LON, 10, calculation)
    check_as_published(harmonics(LAT, LON, 10, calculation), expected, 1e-12)


@pytest.mark.parametrize("calculation", satclip.CALCULATIONS)
def test_vectors_are_those_of_the_definition(tmp_path, monkeypatch, calculation):
    monkeypatch.setattr(location_encoder, "BATCH", 40)
    value = make.satclip_checkpoint(1, 10, 24, 8, harmonics_calculation=calculation)
    model = SatCLIP(make.save(tmp_path / "satclip.ckpt", value))
    found = model.encode(LAT, LON)
    assert found.dtype == np.float32 and found.shape == (63, 8) and model.dims == 8
    layers = make.satclip_layers(1, 10, 24, 8)
    expected = encoder_reference.vectors(np, LAT, LON, layers, 10, calculation)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    other = encoder_reference.vectors(np, LON / 2, LAT * 2, layers, 10, calculation)
    assert np.abs(found - other).max() > 0.05  # latitude comes first


def test_vectors_are_those_of_a_module_of_torch(tmp_path):
    """A whole published checkpoint of a run, saved and computed by PyTorch."""
    torch = pytest.importorskip("torch")
    value = make.satclip_checkpoint(2, 10, 64, 32)
    state = {k: torch.from_numpy(v.copy()) for k, v in value["state_dict"].items()}
    names = [f"model.location.nnet.{n}" for n in ("layers.0", "layers.1", "last_layer")]
    layers = [(state[f"{n}.weight"], state[f"{n}.bias"]) for n in names]
    path = tmp_path / "satclip.ckpt"
    torch.save({"state_dict": state, "hyper_parameters": value["hyper_parameters"]}, path)
    lat, lon = torch.from_numpy(LAT), torch.from_numpy(LON)
    expected = encoder_reference.vectors(torch, lat, lon, layers, 10).numpy()
    np.testing.assert_allclose(SatCLIP(path).encode(LAT, LON), expected, rtol=0, atol=1e-6)


def test_a_pole_and_the_date_line_are_one_place_each(tmp_path):
    model = SatCLIP(make.save(tmp_path / "a.ckpt", make.satclip_checkpoint(0, 40, 8, 4)))
    lat = np.array([90, 90, -90, -90, 12, 12])
    lon = np.array([0, 123.4, 7, -180, 180, -180])
    found = model.encode(lat, lon)
    np.testing.assert_allclose(found[::2], found[1::2], rtol=0, atol=1e-6)


def test_other_layouts_of_the_weights_are_read(tmp_path):
    value = make.satclip_checkpoint()
    expected = SatCLIP(make.save(tmp_path / "a.ckpt", value)).encode(LAT, LON)
    state = {
        key.removeprefix("model.location."): tensor
        for key, tensor in value["state_dict"].items()
        if "location" in key
    }
    light = {"state_dict": state, "hyper_parameters": value["hyper_parameters"]}
    record = make.record("argparse Namespace", value["hyper_parameters"])
    for name, path in {
        "light": make.save(tmp_path / "light.ckpt", light),
        "bare": make.save(tmp_path / "bare.pt", state),
        "record": make.save(tmp_path / "record.pt", value | {"hyper_parameters": record}),
        "safe": make.save_safetensors(tmp_path / "a.safetensors", state),
    }.items():
        np.testing.assert_array_equal(SatCLIP(path).encode(LAT, LON), expected, err_msg=name)


def test_global_options_do_not_matter(tmp_path):
    model = SatCLIP(make.save(tmp_path / "a.ckpt", make.satclip_checkpoint()))
    assert not jax.config.jax_enable_x64
    found = model.encode(LAT, LON)
    assert not jax.config.jax_enable_x64
    with jax.enable_x64(True), jax.default_matmul_precision("bfloat16"):
        np.testing.assert_array_equal(model.encode(LAT, LON), found)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"le_type": "grid"}, 'le_type = "grid" in its hyper_parameters is not what is computed'),
        ({"pe_type": "fcnet"}, 'pe_type = "fcnet"'),
        ({"harmonics_calculation": "discretized"}, 'computed here, "analytic", "closed-form"'),
        ({"legendre_polys": 5}, 'legendre_polys = "5" in its hyper_parameters'),
        ({"legendre_polys": [4]}, 'legendre_polys = "[4]"'),
    ],
)
def test_other_encoders_are_refused(tmp_path, settings, told):
    path = make.save(tmp_path / "a.ckpt", make.satclip_checkpoint(**settings))
    with pytest.raises(InputError) as caught:
        SatCLIP(path)
    assert str(caught.value).startswith(f"{path}: ") and told in str(caught.value)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([1], "holds no weights of SatCLIP"),
        ({"state_dict": 3}, "among its tensors (none)"),
        ({"nnet.last_layer.weight": np.zeros((2, 3))}, 'lacks the tensor "nnet.layers.0.weight"'),
        (
            {"nnet.last_layer.weight": np.zeros((2, 3)), "nnet.layers.0.weight": np.zeros((3, 5))},
            "takes 5 features, which is no square",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, value, told):
    path = make.save(tmp_path / "a.ckpt", value)
    with pytest.raises(InputError) as caught:
        SatCLIP(path)
    assert str(caught.value).startswith(f"{path}: ") and told in str(caught.value)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in for the model hub's package; what was asked for."""
    asked = []

    def hf_hub_download(repository, file, local_files_only):
        if local_files_only:
            raise FileNotFoundError(file)
        asked.append((repository, file))
        if "ViT16" in repository:
            raise ConnectionError("no\nroute")
        return str(make.save(tmp_path / file, make.satclip_checkpoint()))

    logging = types.SimpleNamespace(
        get_verbosity=lambda: 30, set_verbosity_error=lambda: None, set_verbosity=lambda level: None
    )
    module = types.SimpleNamespace(hf_hub_download=hf_hub_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    utils = types.SimpleNamespace(logging=logging)
    monkeypatch.setitem(sys.modules, "huggingface_hub.utils", utils)
    return asked


def test_published_checkpoints_come_from_the_hub(hub):
    model = SatCLIP("microsoft/SatCLIP-ResNet18-L10")
    assert hub == [("microsoft/SatCLIP-ResNet18-L10", "satclip-resnet18-l10.ckpt")]
    assert model.version == f"satclip-resnet18-l10.ckpt sha256:{model.sha256}"
    assert len(satclip.PUBLISHED) == 6 and satclip.DEFAULT in satclip.PUBLISHED
    with pytest.raises(Unavailable, match=r"satclip-vit16-l40\.ckpt of .* \(no route\); fetch it"):
        SatCLIP()
    with pytest.raises(InputError, match=r'"SatCLIP-L10" is neither a file nor a published'):
        SatCLIP("SatCLIP-L10")
    with pytest.raises(InputError, match="SatCLIP-ViT16-L10"):
        SatCLIP("L10")
    with pytest.raises(Unavailable, match="is not here yet; a fetch without --dry_run gets it"):
        SatCLIP(download=False)


def test_the_hubs_package_is_named_where_it_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"needs huggingface_hub, which pip install 'ecjax\[cloud"):
        from_hub("SatCLIP-ResNet18-L10")
