"""The store: cells as files in the folder `cells` of a directory of results.

A file is named after what it is of and never changed, only written whole, and removed when it is
damaged or its cell is in a file of many. So any number of processes may write to one store and read
from it at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ecjax import cell_file, cell_pack
from ecjax.cell_file import Damaged, OtherVersion
from ecjax.cells import Key, Rectangle, Use, cover
from ecjax.places import Place

FOLDER = "cells"
PLAN = f"{FOLDER}/plan.json"
ENDINGS = ENDING, MANY = ".cell", cell_pack.ENDING  # of a cell's own file, and of one of many
FIRST_BYTES = 4096  # of a cell, which mostly hold its whole header


class Entry(NamedTuple):
    """Numbers of one group of tasks within a cell.

    Attributes:
      file: of the cell.
      place: among the cell's entries.
      key: what they are of.
      predictions: whether those of rows are among them.
    """

    file: str
    place: int
    key: Key
    predictions: bool


class CellStore:
    """The cells of a directory.

    Args:
      place: the directory.
      say: takes a line for the user, about a damaged cell.
      mend: whether damaged files are removed, so that they are computed again; False: nothing is
        changed.

    Attributes:
      damaged: how many damaged cells, or files of many, were met.
      unread: files that hold a damaged cell, or are of another version, and were left.
    """

    def __init__(self, place: Place, say: Callable[[str], None], mend: bool = True):
        self.place, self._say, self._mend = place, say, mend
        self.damaged = 0
        self.unread: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._entries: dict[str, list[Entry]] = {}  # by base
        self._units: set[str] = set()
        self._packed: dict[str, tuple[str, int, int]] = {}  # file → where it is in which of many
        self._files: set[str] = set()
        self._met: set[str] = set()  # files of many, and those that are left alone
        self.refresh()

    @property
    def files(self) -> list[str]:
        """Names of all cells, also of those in files of many."""
        return sorted(self._files)

    def refresh(self) -> None:
        """Reads what the headers of new cells say, and forgets removed ones."""
        there = self.place.files(FOLDER)
        for file in [file for file in self._files if self._file_of(file) not in there]:
            self._forget(file)
        self._met &= there.keys()
        new = sorted(there.keys() - self._files - self._met)
        # A cell's own file goes before its copy in a file of many, which may be damaged.
        for ending in (ENDING, MANY):
            for file in (file for file in new if file.endswith(ending)):
                try:
                    self._meet(file, there[file])
                except FileNotFoundError:  # removed since it was listed
                    continue
                except Damaged as damage:
                    self._discard(file, damage)
                except OtherVersion:
                    self._met.add(file)
                    self.unread.add(file)
                    self._say(f"{self._path(file)}: is of another version of ecjax; left alone")

    def _meet(self, file: str, size: int) -> None:
        if file.endswith(ENDING):
            header = cell_file.read_header(self._start(file, size, cell_file.header_bytes))
            _check_name(file, header)
            self._sizes[file] = size
            self._add(file, header)
            return
        for member in cell_pack.read_index(self._start(file, size, cell_pack.index_bytes)):
            if member.name not in self._files:
                self._packed[member.name] = file, member.start, member.size
                self._sizes[member.name] = member.size
                self._add(member.name, member.header)
        self._met.add(file)

    def _start(self, file: str, size: int, count: Callable[[bytes, int], int]) -> bytes:
        path = f"{FOLDER}/{file}"
        start = self.place.read_part(path, 0, FIRST_BYTES)
        length = count(start, size)
        return start if length <= len(start) else self.place.read_part(path, 0, length)

    def _file_of(self, cell: str) -> str:
        """The file that a cell is in."""
        return self._packed[cell][0] if cell in self._packed else cell

    def cover(
        self, wanted: Key, predictions: bool
    ) -> tuple[list[Use], list[Entry], list[Rectangle]]:
        """As `cells.cover`, with the entries that the uses number.

        Args:
          predictions: only cells with those of rows serve.
        """
        entries = [
            e for e in self._entries.get(wanted.base, ()) if e.predictions or not predictions
        ]
        uses, missing = cover(wanted, [entry.key for entry in entries])
        return uses, entries, missing

    def write_plan(self, cells: Sequence[Mapping[str, Any]]) -> None:
        """Keeps which cells the last command consists of."""
        self.place.write(PLAN, json.dumps({"cells": cells}).encode())

    def has_unit(self, key: str) -> bool:
        """Whether a call of this key is stored."""
        return key in self._units

    def save(
        self,
        entries: Sequence[tuple[Key, bool, Mapping[str, np.ndarray]]],
        about: Mapping[str, Any],
    ) -> str:
        """Stores what one call gave: of each group of tasks its key, whether there are predictions
        of rows, and arrays by name. Returns the file's name.

        Args:
          about: what else the header shall say.
        """
        listed = [[*key, predictions] for key, predictions, _ in entries]
        arrays = {f"{i}/{k}": a for i, (*_, own) in enumerate(entries) for k, a in own.items()}
        return self._write({**about, "entries": listed}, arrays)

    def save_unit(self, key: str, arrays: Sequence[np.ndarray], about: Mapping[str, Any]) -> str:
        """Stores the arrays that a call of this key gave. Returns the file's name."""
        header = {**about, "entries": [], "unit": key}
        return self._write(header, {str(i): array for i, array in enumerate(arrays)})

    def load(self, file: str) -> list[dict[str, np.ndarray]]:
        """The arrays of each entry of a cell.

        Raises:
          Damaged: the cell is damaged or gone; it is no longer in the store.
        """
        arrays = self._read(file)
        found: list[dict[str, np.ndarray]] = []
        for name, array in arrays.items():
            place, _, field = name.partition("/")
            found += [{} for _ in range(int(place) + 1 - len(found))]
            found[int(place)][field] = array
        return found

    def load_unit(self, key: str) -> tuple[np.ndarray, ...]:
        """The arrays that a call of this key gave. Raises as `load`."""
        arrays = self._read(key + ENDING)
        return tuple(arrays[str(i)] for i in range(len(arrays)))

    def _write(self, header: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
        file = _name(header)
        self.place.write(f"{FOLDER}/{file}", cell_file.pack(header, arrays))
        if file not in self._files:
            self._add(file, header)
        return file

    def read(self, file: str) -> bytes:
        """The content of a cell's file, unchecked; FileNotFoundError where it is gone."""
        if file in self._packed:
            many, start, size = self._packed[file]
            return self.place.read_part(f"{FOLDER}/{many}", start, size)
        return self.place.read(f"{FOLDER}/{file}")

    def size(self, file: str) -> int:
        """Bytes of a cell's file that was read from the store."""
        return self._sizes[file]

    def verify(self, file: str) -> bool:
        """Whether a cell's file is what was written."""
        try:
            self._read(file)
        except Damaged:
            return False
        return True

    def _read(self, file: str) -> dict[str, np.ndarray]:
        try:
            header, arrays = cell_file.unpack(self.read(file))
            _check_name(file, header)
            return {name: np.array(array) for name, array in arrays.items()}
        except FileNotFoundError:
            self._forget(file)
            self.refresh()  # perhaps it is in a file of many now
            raise Damaged("it is gone") from None
        except Damaged as damage:
            self._discard(file, damage)
            raise

    def _add(self, file: str, header: Mapping[str, Any]) -> None:
        self._files.add(file)
        if "unit" in header:
            self._units.add(header["unit"])
        for place, (base, seeds, subsets, predictions) in enumerate(header["entries"]):
            key = Key(base, tuple(seeds), tuple(subsets))
            self._entries.setdefault(base, []).append(Entry(file, place, key, predictions))

    def _forget(self, file: str) -> None:
        self._files.discard(file)
        self._packed.pop(file, None)
        self._units.discard(file.removesuffix(ENDING))
        for base, entries in self._entries.items():
            self._entries[base] = [entry for entry in entries if entry.file != file]

    def _discard(self, file: str, damage: Damaged) -> None:
        alone, kept_in = file not in self._packed, self._file_of(file)
        what = self._path(kept_in) + ("" if alone else f": cell {file}")
        self._forget(file)
        self.damaged += 1
        if not self._mend:
            self.unread.add(kept_in)
            self._say(f"{what}: is damaged ({damage})")
            return
        if alone:
            self.place.remove(f"{FOLDER}/{file}")
        self._say(f"{what}: is damaged ({damage}); it is computed again")

    def _path(self, file: str) -> str:
        return f"{self.place}/{FOLDER}/{file}"


def _name(header: Mapping[str, Any]) -> str:
    """The file's name, which follows from what a cell is of."""
    if "unit" in header:
        return header["unit"] + ENDING
    return hashlib.sha256(json.dumps(header["entries"]).encode()).hexdigest()[:32] + ENDING


def _check_name(file: str, header: Mapping[str, Any]) -> None:
    if _name(header) != file:
        raise Damaged("it is another cell than its name says")
