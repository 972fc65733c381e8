"""Which models `ecjax fetch` knows by name, and where their data or weights are.

A name stands for one of BUILT_IN, for an encoder that another package registers (`own_encoder`),
or for a table of vectors that somebody has computed before (`precomputed`).
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ecjax.errors import InputError, UsageError, listing, neutral, quote
from ecjax.filesystems import is_url, split
from ecjax.models import Model, Unavailable
from ecjax.own_encoder import GROUP, Encoder, registered
from ecjax.precomputed import Precomputed
from ecjax.study import TABLE_SUFFIXES, check_name

# Imported when they are asked for: some need packages that not everyone has.
BUILT_IN = {
    "alphaearth": "ecjax.alphaearth:AlphaEarth",
    "tessera": "ecjax.tessera:Tessera",
    "geoclip": "ecjax.geoclip:GeoCLIP",
    "satclip": "ecjax.satclip:SatCLIP",
}
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def models_of(
    names: Sequence[str],
    sources: Mapping[str, str],
    folder: Path | None = None,
    download: bool = True,
) -> tuple[dict[str, Model | Precomputed], dict[str, Unavailable]]:
    """The models of these names, in their order, and those that cannot be had now.

    Args:
      names: as in `--models`.
      sources: name → path or URL of its data or weights, or the name of a published variant; of a
        table (or of a folder or pattern, under a name that is no model's): the vectors themselves.
      folder: of this machine, in which those that have a `cache` may use one of their name; it need
        not be there yet. None: nothing is kept.
      download: whether weights may be fetched that are not here.

    Raises:
      UsageError: a name that is unknown or given twice, or a source that nothing asks for.
      InputError: models cannot be loaded; all of them are told.
    """
    if not names:
        raise UsageError(f"fetch needs --models=…; known: {', '.join(known())}")
    twice = [name for name in names if list(names).count(name) > 1]
    if twice:
        raise UsageError(f"--models names {quote(twice[0])} twice; remove one")
    for name in sources:
        if name not in names:
            raise UsageError(
                f"--sources has one for {quote(name)}, which is not among --models "
                f"({listing(names, 12)}); add it there, or leave it out here"
            )
    found, late, unusable = {}, {}, []
    for name in names:
        try:
            found[name] = _model(name, sources.get(name), folder, download)
        except Unavailable as error:
            late[name] = error
        except InputError as error:
            unusable.append(str(error))
    if unusable:
        head = [f"{len(unusable)} models cannot be used:"] if len(unusable) > 1 else []
        raise InputError(*head, *unusable)
    return found, late


def sources_of(texts: Sequence[str]) -> dict[str, str]:
    """Name → source, of texts `name=source`. Raises UsageError."""
    sources: dict[str, str] = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not (name and equals and source):
            raise UsageError(
                "--sources: give name=URL or name=/path, several with commas between; a name of "
                "--models is wanted before the first ="
            )
        if name in sources:
            raise UsageError(f"--sources names {quote(name)} twice; remove one")
        sources[name] = source
    return sources


def shown(source: str | None) -> str:
    """A source without credentials and options, for messages and manifests."""
    if source is None:
        return "published"
    if os.path.exists(source):
        return os.path.abspath(source)
    url = _URL.search(source)  # a version may stand before it
    return source if url is None else f"{source[: url.start()]}{split(source[url.start() :])}"


def known() -> list[str]:
    """All names of models."""
    return list(dict.fromkeys([*BUILT_IN, *registered()]))


def loaded(where: str) -> Any:
    """What "module:name" names."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def _model(
    name: str, source: str | None, folder: Path | None, download: bool
) -> Model | Precomputed:
    check_name(name, "embedding", "--models")
    entries = registered().get(name, [])
    is_model = name in BUILT_IN or bool(entries)
    if source is not None and (_is_table(source) or not is_model):
        return Precomputed(name, source)
    if name in BUILT_IN and not entries:
        return _built_in(name, source, folder, download)
    if not is_model:
        near = difflib.get_close_matches(name, known(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known())}."
        raise UsageError(
            f"unknown model {quote(name)}; {hint} A table of its vectors is given by "
            f"--sources={neutral(name)}=URL"
        )
    if len(entries) > 1 or name in BUILT_IN:
        raise InputError(
            f"model {quote(name)} is registered under {GROUP} by "
            f"{listing([entry.value for entry in entries])}, and must stand for one thing "
            f"{'beside the built-in one' * (name in BUILT_IN)}; rename the entry point, or remove "
            "a package"
        )
    if source is not None:
        raise UsageError(
            f"--sources: {quote(name)} is another package's encoder, which takes none; leave it out"
        )
    return Encoder(entries[0])


def _built_in(name: str, source: str | None, folder: Path | None, download: bool) -> Model:
    """A model of ours, which knows best where it is published."""
    kind, given = loaded(BUILT_IN[name]), {}
    takes = inspect.signature(kind).parameters
    if folder is not None and "cache" in takes:
        given["cache"] = folder / name
    if "download" in takes:
        given["download"] = download
    return kind(*[source] * (source is not None), **given)


def _is_table(source: str) -> bool:
    path = split(source).path if is_url(source) else source
    return Path(path).suffix.lower() in TABLE_SUFFIXES
