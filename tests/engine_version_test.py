"""The engine's digest follows what computes numbers, and nothing that only shows them."""

import pytest

from ecjax import engine_version


@pytest.fixture
def sources(monkeypatch):
    """A copy of the sources that the digest is made of."""
    found = engine_version._sources(engine_version.ROOTS)
    monkeypatch.setattr(engine_version, "_sources", lambda roots: found)
    return found


def digest():
    return engine_version.engine_digest.__wrapped__()


def test_what_computes_is_in_it_and_what_shows_is_not(sources):
    computing = {"engine", "host_nested", "logistic", "folds", "inner", "align", "tables", "values"}
    assert computing <= sources.keys()
    assert not {"report", "page", "figures", "results", "store", "cli", "progress"} & sources.keys()


def test_what_streams_compute_with_is_in_theirs():
    sources = engine_version._sources(engine_version.OF_STREAMS).keys()
    assert {"stream_moments", "stream_logistic", "stream_read", "host_folds", "tables"} <= sources
    assert not {"report", "page", "store", "cli", "stream_run", "manifest"} & sources
    known = engine_version.engine_digest(engine_version.OF_STREAMS)
    assert known != engine_version.engine_digest() == engine_version.engine_digest()


def test_each_source_and_each_version_counts(sources, monkeypatch):
    seen = {digest()}
    assert digest() in seen
    for name in ("engine", "gram", "probe"):
        sources[name] += "\n"
        seen.add(digest())
    monkeypatch.setattr(engine_version.metadata, "version", lambda package: "99")
    seen.add(digest())
    assert len(seen) == 5
