"""Study files: TOML in, checked frozen dataclasses out.

Everything that can be checked without reading a table is checked here: keys, types, names, and
whether the files exist. The study and its tables may be named by URLs, see `remote`.
"""

import dataclasses
import fnmatch
import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecjax import binning, files, keys, parts, polygons, quantised
from ecjax.coordinates import Coordinates, checked
from ecjax.errors import InputError, counted, listing, quote
from ecjax.limits import Budget
from ecjax.remote import RemotePath, path_of
from ecjax.sweeps import swept
from ecjax.transforms import TRANSFORMS, check_kind

KINDS = ("regression", "classification")
JOINS = ("inner", "exact")
SOURCES = ("coordinates",)
TABLE_SUFFIXES = (
    ".csv", ".tsv", ".gz", ".parquet", ".pq", ".arrow", ".feather", ".ipc", ".xlsx", ".npy", ".npz",
)  # fmt: skip
MAX_EMBEDDINGS = 10

# Keys that later versions will read. Until then they are refused rather than ignored.
EMBEDDING_KEYS_TO_COME = ("transform",)
TASK_KEYS_TO_COME = ()

_STUDY_KEYS = ("name", "join", "embeddings", "tasks", "sweep", "regions")
_EMBEDDING_KEYS = (
    "path", "id", "ids", "columns", "dequantise", "scale", "allow_leaks", "source", "encoding",
    "degree",
)  # fmt: skip
_BUILT_IN_KEYS = ("source", "encoding", "degree")
_TASK_KEYS = (
    "path", "id", "target", "kind", "transform", "missing", "lat", "lon", "geometry", "group",
    "split", "strata", "embeddings",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class EmbeddingSource:
    """Where the vectors of one embedding are.

    `path` is what the study says, relative to the study file; `files` are the existing files it
    stands for, sorted. Both are empty where every task gives a table of its own, and where the
    embedding is `built_in`: made from the coordinates. `ids` are files of ids, one for each array;
    `dequantise` and `scale` say what whole numbers stand for, see `quantised`; `max_bytes` is what
    the table may take when read, see `limits`.
    """

    name: str
    path: Path | RemotePath | None
    files: tuple[Path | RemotePath, ...]
    id: str = "id"
    columns: str | None = None
    allow_leaks: tuple[str, ...] = ()
    built_in: Coordinates | None = None
    ids: tuple[Path | RemotePath, ...] = ()
    dequantise: str | None = None
    scale: str | float | None = None
    max_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class TaskSource:
    """Where the labels of one task are; `embeddings` are those of the study, resolved for it.

    `lat` and `lon` are one column where it holds points; `missing` are values that stand for none
    in a target; `max_bytes` is as in EmbeddingSource.
    """

    name: str
    path: Path | RemotePath
    files: tuple[Path | RemotePath, ...]
    id: str
    target: tuple[str, ...]
    kind: str
    lat: str | None
    lon: str | None
    group: str | None
    embeddings: dict[str, EmbeddingSource]
    split: str | None = None
    transform: str = "none"
    strata: dict[str, binning.How] = dataclasses.field(default_factory=dict)
    missing: tuple[float | str, ...] = ()
    max_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Study:
    """A study file as read: embeddings and tasks in its order, swept values as tuples."""

    name: str
    join: str
    embeddings: dict[str, EmbeddingSource]
    tasks: dict[str, TaskSource]
    sweep: dict[str, tuple[float | int | tuple[float, ...], ...]]
    path: Path | RemotePath
    regions: polygons.RegionSource | None = None


def read_study(path: str | os.PathLike, max_input_bytes: int = 0) -> Study:
    """Reads and checks a study file.

    Args:
        path: The TOML file, or its URL; relative paths in it are relative to its folder.
        max_input_bytes: What each of its tables may take when it is read; 0: see `limits`.

    Returns:
        The study. All of its tables exist; none has been opened yet, but those of tasks whose
        targets are a pattern.

    Raises:
        InputError: The file is missing or no TOML, a key is unknown, missing or of a wrong type,
            a name is unusable, or a table does not exist.
    """
    path = path_of(path)
    data = _load(path)
    where = f"study {path}"
    keys.check_keys(data, _STUDY_KEYS, (), where)
    embeddings = {
        name: dataclasses.replace(
            _embedding(name, table, path, f"{where}: [embeddings.{name}]"),
            max_bytes=max_input_bytes,
        )
        for name, table in keys.tables(data, "embeddings", "embedding", where).items()
    }
    if len(embeddings) > MAX_EMBEDDINGS:
        raise InputError(
            f"{where}: {len(embeddings)} embeddings, but every subset is fitted and at most "
            f"{MAX_EMBEDDINGS} are possible; remove {len(embeddings) - MAX_EMBEDDINGS} of them"
        )
    tasks = {
        name: _with_targets(
            dataclasses.replace(
                _task(name, table, embeddings, path, f"{where}: [tasks.{name}]"),
                max_bytes=max_input_bytes,
            ),
            f"{where}: [tasks.{name}]",
        )
        for name, table in keys.tables(data, "tasks", "task", where).items()
    }
    return Study(
        name=keys.text(data, "name", where) or path.stem,
        join=keys.choice(keys.text(data, "join", where) or "inner", JOINS, "join", where),
        embeddings=embeddings,
        tasks=tasks,
        sweep=swept(data.get("sweep", {}), f"{where}: [sweep]"),
        path=path,
        regions=polygons.source_of(data.get("regions"), path.parent, f"{where}: [regions]"),
    )


def check_name(name: object, what: str, where: str = "") -> str:
    """Returns `name` if an embedding or task may bear it.

    Names become parts of subset names, file names and report headings, so path separators, "+",
    "," and control characters are refused.

    Args:
        name: The name.
        what: What bears it, for the message: "embedding" or "task".
        where: What the message starts with, if it stands in a file.

    Raises:
        InputError: The name is unusable.
    """
    what_there = f"{where}: {what}" if where else what
    if not isinstance(name, str):
        raise InputError(f"{what_there} {name!r}: a name must be text; write {str(name)!r} instead")
    unusable = [c for c in name if c in "/\\+," or unicodedata.category(c)[0] == "C"]
    if unusable:
        reason = f"it contains {quote(unusable[0])}"
    elif not name.strip():
        reason = "it is empty"
    elif name.startswith("."):
        reason = "it starts with a dot"
    else:
        return name
    raise InputError(
        f"{what_there} name {quote(name)} cannot be used: {reason}; rename it, for example to "
        f"{quote(re.sub(r'[^A-Za-z0-9_-]+', '_', name).strip('_') or what)}"
    )


def _load(path: Path | RemotePath) -> dict[str, Any]:
    if path.suffix.lower() in TABLE_SUFFIXES:
        name = check_name(re.sub(r"\W+", "_", path.stem) or "model", "embedding")
        raise InputError(
            f"study {path}: this is a table, but a study file is wanted, which names the tables; "
            "write these lines, with your names, into study.toml:",
            f"embeddings.{name}.path = {quote(path.name)}",
            'embeddings.OTHER.path = "other.csv"',
            'tasks.TASK = { path = "labels.csv", target = "COLUMN", kind = "regression" }',
        )
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise InputError(f"study {path}: no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"study {path}: is a directory; name the study file in it") from None
    except OSError as error:
        raise InputError(f"study {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"study {path}: not UTF-8 at byte {error.start:,}; save it as UTF-8"
        ) from None
    return keys.parsed(text, f"study {path}")


def _embedding(name: str, table: dict, study: Path | RemotePath, where: str) -> EmbeddingSource:
    check_name(name, "embedding", f"study {study}")
    if "source" in table:
        return EmbeddingSource(name, None, (), built_in=_coordinates(table, None, where))
    keys.check_keys(table, _EMBEDDING_KEYS, EMBEDDING_KEYS_TO_COME, where)
    for key in ("encoding", "degree"):
        if key in table:
            raise InputError(
                f"{where}: {key} is for an embedding made from the coordinates; add source = "
                f'"coordinates", or remove {key}'
            )
    text, ids = keys.text(table, "path", where), keys.text(table, "ids", where)
    dequantise, scale = quantised.keys_of(table, where)
    return EmbeddingSource(
        name=name,
        path=None if text is None else parts.path_of(text, study.parent, f"{where}: path"),
        files=() if text is None else parts.files_of(text, study.parent, f"{where}: path"),
        id=keys.text(table, "id", where) or "id",
        columns=keys.text(table, "columns", where),
        allow_leaks=keys.texts(table, "allow_leaks", where),
        ids=() if ids is None else parts.files_of(ids, study.parent, f"{where}: ids"),
        dequantise=dequantise,
        scale=scale,
    )


def _coordinates(table: dict, shared: Coordinates | None, where: str) -> Coordinates:
    """What is made from the coordinates, by these keys and, where they are silent, as `shared`."""
    keys.check_keys(table, _EMBEDDING_KEYS, EMBEDDING_KEYS_TO_COME, where)
    if "source" in table:
        keys.choice(keys.text(table, "source", where), SOURCES, "source", where)
    foreign = [key for key in table if key not in _BUILT_IN_KEYS]
    if foreign:
        raise InputError(
            f"{where}: key {quote(foreign[0])} is for tables, but this embedding has source = "
            f'"coordinates", with which go encoding and degree; remove {foreign[0]}, or give the '
            "table a name of its own"
        )
    encoding = keys.text(table, "encoding", where) or (shared or Coordinates()).encoding
    same = shared is not None and shared.encoding == encoding
    degree = table.get("degree", shared.degree if same else None)
    return Coordinates(encoding, checked(encoding, degree, where))


def _task(
    name: str,
    table: dict,
    embeddings: Mapping[str, EmbeddingSource],
    study: Path | RemotePath,
    where: str,
) -> TaskSource:
    check_name(name, "task", f"study {study}")
    keys.check_keys(table, _TASK_KEYS, TASK_KEYS_TO_COME, where)
    text = keys.required(keys.text(table, "path", where), "path", '"labels.csv"', where)
    target = keys.required(keys.texts(table, "target", where), "target", '["biomass_mean"]', where)
    kind = keys.required(keys.text(table, "kind", where), "kind", '"regression"', where)
    keys.choice(kind, KINDS, "kind", where)
    transform = keys.text(table, "transform", where) or "none"
    check_kind(keys.choice(transform, TRANSFORMS, "transform", where), kind, where)
    _check_classes(kind, target, where)
    lat, lon = _places(table, where)
    own = _own_tables(table.get("embeddings", {}), embeddings, study, where)
    made = [name for name, source in own.items() if source.built_in is not None]
    if made and lat is None:
        raise InputError(
            f"{where}: embedding {quote(made[0])} is made from the coordinates, and this task has "
            'none; add its columns, say, lat = "lat" and lon = "lon", or remove '
            f"[embeddings.{made[0]}]"
        )
    return TaskSource(
        name=name,
        path=parts.path_of(text, study.parent, f"{where}: path"),
        files=parts.files_of(text, study.parent, f"{where}: path"),
        id=keys.text(table, "id", where) or "id",
        target=target,
        kind=kind,
        lat=lat,
        lon=lon,
        group=keys.text(table, "group", where),
        embeddings=own,
        split=keys.text(table, "split", where),
        transform=transform,
        strata=_strata(table, target, where),
        missing=keys.values(table, "missing", where),
    )


def _check_classes(kind: str, target: tuple[str, ...], where: str) -> None:
    if kind == "classification" and len(target) > 1:
        raise InputError(
            f"{where}: classification takes one target, not {len(target)} ({listing(target)}); "
            "make a task of each"
        )


def _with_targets(source: TaskSource, where: str) -> TaskSource:
    """The task with the columns that its patterns of targets stand for."""
    if not any(_is_pattern(name) for name in source.target):
        return source
    owner, budget = f"task {quote(source.name)}", Budget(source.max_bytes)
    names = files.columns_of(source.files[0], owner, budget)
    others = source.id, source.lat, source.lon, source.group, source.split, *source.strata
    found: dict[str, None] = {}
    for name in source.target:
        if name in names or not _is_pattern(name):
            matching = [name]
        else:
            matching = [n for n in names if fnmatch.fnmatchcase(n, name) and n not in others]
        if not matching:
            raise InputError(
                f"{where}: no column matches target = {quote(name)}; the file has "
                f"{counted(len(names), 'column')}: {listing(names, 8)}"
            )
        found |= dict.fromkeys(matching)
    _check_classes(source.kind, tuple(found), where)
    return dataclasses.replace(source, target=tuple(found))


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


def _places(table: dict, where: str) -> tuple[str | None, str | None]:
    """The columns of a task's latitudes and longitudes, one and the same where it holds points."""
    lat, lon, geometry = (keys.text(table, key, where) for key in ("lat", "lon", "geometry"))
    if geometry is not None and (lat or lon) is not None:
        raise InputError(
            f"{where}: geometry is a column of points, and lat and lon are two of degrees; give "
            "the one or the others"
        )
    if (lat is None) != (lon is None):
        given, other = ("lat", "lon") if lon is None else ("lon", "lat")
        raise InputError(f"{where}: {given} is given without {other}; give both or neither")
    return (lat, lon) if geometry is None else (geometry, geometry)


def _strata(table: dict, target: tuple[str, ...], where: str) -> dict[str, binning.How]:
    strata = binning.all_checked(table.get("strata", {}), f"{where}: strata")
    own = [name for name in strata if name in target]
    if own:
        raise InputError(
            f"{where}: strata {quote(own[0])} is the target itself: within its own bins nothing is "
            "left to tell; name another column"
        )
    return strata


def _own_tables(
    given: Any, embeddings: Mapping[str, EmbeddingSource], study: Path | RemotePath, where: str
) -> dict[str, EmbeddingSource]:
    """The study's embeddings with the keys that one task gives otherwise."""
    if not isinstance(given, dict):
        raise InputError(f"{where}: embeddings must be a table, not {keys.type_name(given)}")
    for name in given:
        keys.check_known(name, embeddings, "embedding", f"{where}: embeddings")
    resolved = {}
    for name, shared in embeddings.items():
        own = given.get(name, {})
        own = {"path": own} if isinstance(own, str) else own
        here = f"{where}: embeddings.{name}"
        if not isinstance(own, dict):
            raise InputError(f"{here} must be a path or a table, not {keys.type_name(own)}")
        if shared.built_in is not None:
            built_in = _coordinates(own, shared.built_in, here)
            resolved[name] = dataclasses.replace(shared, built_in=built_in)
            continue
        if "source" in own:
            raise InputError(
                f"{here}: source is given for one task only, but a name must stand for one thing; "
                f"make [embeddings.{name}] of the coordinates, or give these a name of their own"
            )
        changed = _embedding(name, own, study, here)
        fields = [*own, "files"] if "path" in own else list(own)
        source = dataclasses.replace(shared, **{f: getattr(changed, f) for f in fields})
        quantised.check(source.dequantise, source.scale, here)
        if source.path is None:
            raise InputError(
                f"{where}: embedding {quote(name)} has an unset path; set path under "
                f"[embeddings.{name}], or {name} in this task's embeddings"
            )
        resolved[name] = source
    return resolved
