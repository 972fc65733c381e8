"""Names of models, and where their data are."""

from importlib.metadata import EntryPoint

import pytest
from make_models import Made

from ecjax import own_encoder, registry
from ecjax.errors import InputError, UsageError
from ecjax.models import Unavailable
from ecjax.own_encoder import Encoder
from ecjax.precomputed import Precomputed
from ecjax.registry import models_of, shown, sources_of


@pytest.fixture(autouse=True)
def made(monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN, "made", "make_models:Made")
    entries = [
        EntryPoint("mine", "own_encoder_test:encode", own_encoder.GROUP),
        EntryPoint("twice", "own_encoder_test:encode", own_encoder.GROUP),
        EntryPoint("twice", "own_encoder_test:Class", own_encoder.GROUP),
        EntryPoint("geoclip", "own_encoder_test:Class", own_encoder.GROUP),
    ]
    monkeypatch.setattr(own_encoder, "entry_points", lambda group: entries)


def test_names_stand_for_models_encoders_and_tables():
    sources = {"made": "s3://bucket/tiles", "given": "vectors", "alphaearth": "ae.csv"}
    found, late = models_of(["made", "mine", "given", "alphaearth"], sources)
    kinds = {"made": Made, "mine": Encoder, "given": Precomputed, "alphaearth": Precomputed}
    assert {name: type(model) for name, model in found.items()} == kinds and not late
    assert found["made"].source == "s3://bucket/tiles"


def test_models_take_what_they_know(monkeypatch, tmp_path):
    class Indexed(Made):
        def __init__(self, source="default", cache=None):
            self.source, self.cache = source, cache

    monkeypatch.setattr(registry, "loaded", lambda where: Indexed)
    (model,) = models_of(["made"], {})[0].values()
    assert (model.source, model.cache) == ("default", None)
    (model,) = models_of(["made"], {"made": "/tiles"}, tmp_path)[0].values()
    assert (model.source, model.cache) == ("/tiles", tmp_path / "made")


def test_all_that_cannot_be_used_or_had_is_told(monkeypatch):
    class Away(Made):
        def __init__(self, source=None, download=True):
            assert not download
            raise Unavailable("away is not here yet")

    monkeypatch.setitem(registry.BUILT_IN, "away", "away")
    monkeypatch.setattr(registry, "loaded", lambda where: Away if where == "away" else Made)
    found, late = models_of(["away", "made"], {}, download=False)
    assert list(found) == ["made"] and str(late["away"]) == "away is not here yet"
    with pytest.raises(InputError, match=r"2 models cannot be used:\n.*twice.*\n.*geoclip"):
        models_of(["twice", "made", "geoclip"], {})


@pytest.mark.parametrize(
    ("names", "sources", "error", "says"),
    [
        ([], {}, UsageError, "fetch needs --models"),
        (["mad"], {}, UsageError, 'unknown model "mad"; did you mean made?'),
        (["quux"], {}, UsageError, "known: alphaearth, tessera, geoclip, satclip"),
        (["made", "made"], {}, UsageError, '"made" twice'),
        (["made"], {"mde": "x"}, UsageError, '"mde", which is not among --models'),
        (["mine"], {"mine": "/weights"}, UsageError, "takes none"),
        (["twice"], {}, InputError, 'by "own_encoder_test:encode", "own_encoder_test:Class"'),
        (["geoclip"], {}, InputError, "must stand for one thing beside the built-in one"),
        (["a+b"], {}, InputError, 'contains "+"'),
    ],
)
def test_names_that_stand_for_nothing(names, sources, error, says):
    with pytest.raises(error) as caught:
        models_of(names, sources)
    assert says in str(caught.value)


def test_sources_are_read_from_texts():
    found = sources_of(["a=https://x/?k=v", "b=/w.ckpt"])
    assert found == {"a": "https://x/?k=v", "b": "/w.ckpt"}
    for texts in (["a"], ["=x"], ["a="], ["a=1", "a=2"]):
        with pytest.raises(UsageError):
            sources_of(texts)


def test_no_secret_of_a_source_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.ckpt").touch()
    assert shown("w.ckpt") == str(tmp_path / "w.ckpt")
    assert shown("v1.1@https://me:pass@example.org/a?sig=1") == "v1.1@https://example.org/a"
    assert shown("https://me:pass@example.org/a?sig=1") == "https://example.org/a"
    assert shown("/w.ckpt") == "/w.ckpt" and shown(None) == "published"
