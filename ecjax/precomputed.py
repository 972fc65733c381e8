"""Vectors that somebody has computed before: a table of them, joined on the ids of the places."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa

from ecjax import parts
from ecjax.errors import InputError, quote
from ecjax.ids import common_ids
from ecjax.models import Estimate, Vectors
from ecjax.row_digest import RowDigest
from ecjax.study import EmbeddingSource
from ecjax.tables import EmbeddingReader, EmbeddingTable, TaskTable

ID = "id"


class Precomputed:
    """A table of vectors, at a path or URL, as an embedding of a study may be.

    Its ids are in the column that bears the name of the places' id column, or else in `id`.
    """

    licence = "not stated"

    def __init__(self, name: str, source: str):
        self.name, self.source = name, source

    def estimate(self) -> Estimate:
        """What `read` would take; asks for no more than the files' sizes."""
        found = self._files()
        nbytes = sum(file.stat().st_size for file in found)
        remote = sum(not isinstance(file, Path) for file in found)
        return Estimate(remote, nbytes, None, "read from where it is")

    def stamp(self) -> str | None:
        """Sizes and times of writing of the files; None where a store does not tell the times."""
        stats = [file.stat() for file in self._files()]
        if any(stat.st_mtime_ns is None for stat in stats):
            return None
        return " ".join(f"{stat.st_size}@{stat.st_mtime_ns}" for stat in stats)

    def read(self, task: TaskTable) -> tuple[Vectors, str]:
        """The vectors of a task's rows, and the version: a digest of the whole table.

        Raises:
          InputError: the table cannot be used, or has no id in common with the task.
        """
        found = self._files()
        reader = _Reader(self.name, found, task.roles["id"])
        whole = reader.whole()
        table = reader.table(whole, reader.ids(whole))
        digest = _digest(table)
        place = common_ids(task, table, "inner").place
        absent, masked = place < 0, (table.missing | table.fill)[place]
        values = table.vectors[place].astype(np.float32)
        values[absent | masked] = np.nan
        reason = np.full(len(place), "", object)
        reason[masked] = "masked in the table"
        reason[absent] = "not in the table"
        tile, checksum = (np.full(len(place), text, object) for text in (reader.path, digest))
        return Vectors(values, tile, checksum, reason), f"table {digest}"

    def _files(self) -> tuple:
        return parts.files_of(self.source, Path(), f"--sources: {self.name}")


class _Reader(EmbeddingReader):
    """Takes the ids from the column that is named as that of the places, or else `id`."""

    def __init__(self, name: str, found: tuple, id_column: str):
        self.path = str(found[0]) if len(found) == 1 else str(found[0].parent)
        super().__init__(EmbeddingSource(name, self.path, found, id=id_column))
        self.text = list(dict.fromkeys([id_column, ID]))

    def choose(self, schema: pa.Schema, here: str) -> list[str]:
        """As `files.Choose`."""
        wanted = self.source.id
        if wanted not in schema.names and ID not in schema.names:
            raise InputError(
                f"{here}: no id column {quote(wanted)}, as the places have, and none named "
                f"{quote(ID)}; name it as one of them"
            )
        if wanted not in schema.names:
            self.source = dataclasses.replace(self.source, id=ID)
        return super().choose(schema, here)


def _digest(table: EmbeddingTable) -> str:
    """Of all ids and vectors, in whichever order."""
    digest = RowDigest()
    digest.add(table.ids, table.vectors, ())
    return digest.texts()["rows"][:16]
