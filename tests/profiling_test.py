"""Where a trace cannot be written is told before anything is computed."""

import numpy as np
import pytest
from quick import quickly_compiled

import ecjax

X = {"a": np.random.default_rng(0).normal(size=(30, 2))}
TASKS = {"height": X["a"][:, 0] + np.random.default_rng(1).normal(size=30)}


def test_a_trace_is_written(tmp_path):
    with quickly_compiled():
        ecjax.evaluate(X, TASKS, folds=3, protocol="paper", profile=str(tmp_path / "trace"))
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))


def test_a_trace_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ecjax.engine.study", None)
    (tmp_path / "file").touch()
    with pytest.raises(ecjax.InputError, match="profile=.*is no directory; name another .*--prof"):
        ecjax.evaluate(X, TASKS, folds=3, profile=str(tmp_path / "file"))
    with pytest.raises(ecjax.InputError, match="nothing can be written there .*--profile"):
        ecjax.evaluate(X, TASKS, folds=3, profile="/proc/none/here")
