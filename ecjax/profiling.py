"""A trace of what JAX does, written by its profiler (`--profile=DIR`)."""

from __future__ import annotations

import contextlib
from pathlib import Path

import jax

from ecjax.errors import InputError, quote
from ecjax.places import LocalPlace, check_writable


def check(folder: str) -> None:
    """Raises an InputError, before anything is computed, where no trace can be written.

    Args:
      folder: need not be there; empty: no trace is wanted.
    """
    if not folder:
        return
    place, way_out = LocalPlace(Path(folder)), "name another directory with --profile"
    if place.is_taken():
        raise InputError(f"profile={quote(folder)}: is no directory; {way_out}")
    check_writable(place, way_out)


def traced(folder: str) -> contextlib.AbstractContextManager:
    """Has JAX write a trace of what it does meanwhile; of nothing where no folder is named."""
    return jax.profiler.trace(folder) if folder else contextlib.nullcontext()
