"""What was fetched of a model, part by part: files in a hidden folder of the output directory.

A file holds the vectors of some rows and what they are of, is named after that, and is written
whole or not at all, with checksums (`cell_file`). So a run may be killed at any moment, and any
number of them may write at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecjax import cell_file
from ecjax.cell_file import Damaged, OtherVersion
from ecjax.errors import neutral
from ecjax.models import Vectors
from ecjax.places import LocalPlace, Place

FOLDER = ".fetch"
ENDING = ".part"
_TEXTS = ("tile", "checksum", "reason")
_KEY = "key "  # before the names of keys among a file's arrays


class Part(NamedTuple):
    """Rows of a model.

    Attributes:
      about: what the writer says of them: version, source.
      keys: name → (n,) numbers that tell which rows they are.
      vectors: of these rows.
    """

    about: dict[str, str]
    keys: dict[str, np.ndarray]
    vectors: Vectors


class PartStore:
    """The parts of one model in a directory.

    Args:
      place: the directory.
      name: of the model.
      say: takes a line for the user, about a damaged part.
      mend: whether damaged files are removed.
    """

    def __init__(self, place: Place, name: str, say: Callable[[str], None], mend: bool = True):
        self.place, self.folder = place, f"{FOLDER}/{name}"
        self._say, self._mend = say, mend
        if mend and isinstance(place, LocalPlace):  # a model may keep an index there
            with contextlib.suppress(OSError):  # which writing a part will tell
                place.path(self.folder).mkdir(parents=True, exist_ok=True)

    def read(self, workers: int) -> Iterator[Part]:
        """All parts that are there and whole; of damaged ones the user is told."""
        if self._mend:
            self.place.tidy(self.folder)
        names = [name for name in self.place.files(self.folder) if name.endswith(ENDING)]
        with ThreadPoolExecutor(workers) as pool:
            for name, content in zip(names, pool.map(self._content, names), strict=True):
                part = None if content is None else self._part(name, content)
                if part is not None:
                    yield part

    def save(self, part: Part) -> None:
        """Writes a part. Raises WriteError."""
        vectors, arrays, texts = part.vectors, {}, {}
        for field in _TEXTS:
            codes, found = pd.factorize(getattr(vectors, field), sort=True)
            texts[field], arrays[field] = found.tolist(), codes.astype(np.int32)
        arrays |= {_KEY + name: key for name, key in part.keys.items()}
        header = {"about": part.about, "keys": list(part.keys), "texts": texts}
        content = cell_file.pack(header, arrays | {"values": vectors.values})
        self.place.write(f"{self.folder}/{_name(part)}", content)

    def _content(self, name: str) -> bytes | None:
        try:
            return self.place.read(f"{self.folder}/{name}")
        except FileNotFoundError:  # another process has found it damaged
            return None

    def _part(self, name: str, content: bytes) -> Part | None:
        try:
            header, arrays = cell_file.unpack(content)
            texts = {field: np.array(header["texts"][field], object) for field in _TEXTS}
            found = {field: texts[field][arrays[field]] for field in _TEXTS}
            keys = {name: arrays[_KEY + name] for name in header["keys"]}
            part = Part(header["about"], keys, Vectors(arrays["values"], **found))
            if _name(part) == name:
                return part
            damage = "it is another part than its name says"
        except OtherVersion:
            return None
        except Damaged as error:
            damage = str(error)
        path = f"{self.place}/{self.folder}/{name}"
        self._say(f"{neutral(path)}: is damaged ({neutral(damage)}); it is read again")
        if self._mend:
            self.place.remove(f"{self.folder}/{name}")
        return None


def _name(part: Part) -> str:
    """The file's name, which follows from what a part is of."""
    digest = hashlib.sha256(json.dumps(part.about, sort_keys=True).encode())
    for name, key in sorted(part.keys.items()):
        digest.update(f"{name} {key.dtype.str} {len(key)} ".encode())
        digest.update(np.ascontiguousarray(key).tobytes())
    return digest.hexdigest()[:32] + ENDING
