"""What `ecjax fetch` writes: a table of each model, what is missing, labels, study, manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecjax.atomic import WriteError, sync_and_hash
from ecjax.encode import differences, plain
from ecjax.errors import InputError, listing
from ecjax.models import Vectors
from ecjax.part_store import ENDING, FOLDER
from ecjax.places import Place
from ecjax.study_text import is_unchanged
from ecjax.wanted import Wanted

MANIFEST = "fetch.json"
MISSING, LABELS, STUDY = "missing.parquet", "labels.parquet", "study.toml"


def table_name(model: str) -> str:
    """The file of a model's table."""
    return f"{model}.parquet"


def vectors_table(wanted: Wanted, vectors: Vectors, version: str, timeless: bool) -> pa.Table:
    """The vectors that were had, in the order of the places.

    Columns: id, lat, lon (degrees), embedding (p float32), year (null where a model knows none),
    dataset (its version), tile and checksum (of the bytes that a vector came from).
    """
    rows = np.flatnonzero(vectors.reason == "")
    values = np.ascontiguousarray(vectors.values[rows])
    year = pa.nulls(len(rows), pa.int64()) if timeless else pa.array(wanted.places.year[rows])
    return pa.table(
        {
            "id": pa.array(wanted.ids[rows]),
            "lat": wanted.task.lat[rows],
            "lon": wanted.task.lon[rows],
            "embedding": pa.FixedSizeListArray.from_arrays(values.reshape(-1), values.shape[1]),
            "year": year,
            "dataset": pa.array([version] * len(rows), pa.string()),
            "tile": _texts(vectors.tile[rows]),
            "checksum": _texts(vectors.checksum[rows]),
        }
    )


def missing_table(wanted: Wanted, reasons: Mapping[str, np.ndarray]) -> pa.Table:
    """A row for each place that a model has no vector of: id, model, reason.

    Args:
      reasons: model → (n,) why there is none, "" where there is one.
    """
    rows = [(name, row) for name, own in reasons.items() for row in np.flatnonzero(own != "")]
    ids = wanted.ids[[row for _, row in rows]] if rows else wanted.ids[:0]
    models = [name for name, _ in rows]
    why = [reasons[name][row] for name, row in rows]
    kind = wanted.labels.schema.field(wanted.task.roles["id"]).type
    columns = {"id": pa.array(ids, kind), "model": pa.array(models, pa.string())}
    return pa.table(columns | {"reason": pa.array(why, pa.string())})


class Output:
    """The output directory.

    Attributes:
      place: where it is.
      earlier: what the manifest of an earlier run says; {} where there is none.
      files: name → SHA-256 of the tables that were written.

    Raises:
      InputError: nothing can be written there, or it holds files of that name which are not ours.
    """

    def __init__(self, place: Place, models: Sequence[str], own_labels: bool):
        self.place, self.files = place, {}
        try:
            if place.is_taken():
                raise InputError(f"{place}: is not a directory; name another one with --out")
            there = place.files() if place.is_directory() else {}
            self.earlier = self._manifest() if MANIFEST in there else {}
        except OSError as error:
            raise InputError(
                f"{place}: cannot be read ({error}); name another directory with --out"
            ) from error
        names = (*map(table_name, models), *[LABELS] * own_labels, MISSING, STUDY)
        foreign = [] if self.earlier else [name for name in names if name in there]
        if foreign:
            raise InputError(
                f"{place}: holds {listing(foreign)} but no {MANIFEST}, so they are not of `ecjax "
                "fetch`; name another directory with --out, or remove them"
            )

    def check_writable(self) -> None:
        """Raises InputError where nothing can be written."""
        try:
            self.place.check_writable()
        except OSError as error:
            raise InputError(
                f"{self.place}: cannot be written ({error.strerror or error}); name another "
                "directory with --out"
            ) from error

    def check(self, model: str, facts: Mapping[str, str]) -> None:
        """Raises an InputError where vectors of a model are there that are from elsewhere."""
        if not self._has_vectors(model):
            return
        before = self.earlier.get("models", {}).get(model, {})
        known = {key: before[key] for key in facts if key in before}
        shown = differences({model: known}, {model: {key: facts[key] for key in known}})
        if shown:
            raise InputError(
                f"{self.place}: holds vectors of another version or source: {', '.join(shown)}; "
                "they are not mixed. Name another directory with --out"
            )

    def _has_vectors(self, model: str) -> bool:
        parts = self.place.files(f"{FOLDER}/{model}")
        return self.place.has(table_name(model)) or any(name.endswith(ENDING) for name in parts)

    def begin(self, models: Mapping[str, Mapping[str, str]]) -> None:
        """Says whose the directory is, before anything else is written. Raises WriteError."""
        before = self.earlier.get("models", {})
        known = before | {name: {**before.get(name, {}), **own} for name, own in models.items()}
        self.earlier = {**self.earlier, "complete": False, "models": known}
        self._write_manifest(self.earlier)

    def finish(self, facts: Mapping[str, Any], complete: bool) -> None:
        """Says what is there, and whether that is all. Raises WriteError."""
        models = {**self.earlier.get("models", {}), **facts["models"]}
        facts = {**facts, "models": models, "complete": complete, "files": self.files}
        self._write_manifest(facts)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Writes a table at once or not at all. Raises WriteError."""
        try:
            with self.place.staging() as folder:
                path = folder / name
                pq.write_table(table, path, compression="zstd", write_page_checksum=True)
                self.files[name] = sync_and_hash(path)
                self.place.move(path, name)
                self.place.sync()
        except OSError as error:
            raise WriteError(
                f"{self.place.path(name)}: cannot be written ({error.strerror or error}); what was "
                "fetched is kept, the same command goes on"
            ) from error

    def edited_study(self) -> str | None:
        """The study file that is there, if the user has changed it."""
        content = self.place.read(STUDY) if self.place.has(STUDY) else None
        if content is None or is_unchanged(content):
            return None
        return content.decode("utf-8", "replace")

    def write_study(self, text: str) -> None:
        """Writes the study file; one that the user has changed is not to be written over."""
        self.place.write(STUDY, text.encode())

    def _write_manifest(self, facts: Mapping[str, Any]) -> None:
        text = json.dumps(plain(facts), indent=2, ensure_ascii=False, allow_nan=False)
        self.place.write(MANIFEST, f"{text}\n".encode())

    def _manifest(self) -> dict[str, Any]:
        try:
            found = json.loads(self.place.read(MANIFEST))
            if isinstance(found, dict) and all(
                isinstance(own, dict) for own in found.get("models", {"": None}).values()
            ):
                return found
            reason = "it has no table `models`"
        except (ValueError, RecursionError, AttributeError) as error:
            reason = str(error)
        raise InputError(
            f"{self.place.path(MANIFEST)}: is not a manifest of `ecjax fetch`, or is damaged "
            f"({reason}); remove it with the tables beside it (what was fetched is kept), or name "
            "another directory with --out"
        )


def _texts(values: np.ndarray) -> pa.Array:
    """Text, null where it is empty."""
    return pa.array(values, pa.string(), mask=values == "")
