"""Fingerprints of rows, the same in whichever order, batches or processes they come."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

PARTS = ("rows", "targets", "vectors")  # of ids with both, and with either
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
_SALTS = np.random.default_rng(0).integers(2**63, size=2, dtype=np.uint64) * 2 + 1


class RowDigest:
    """Of ids, targets and vectors.

    A row's 32-bit words are multiplied by odd 64-bit numbers and added up (multilinear hashing,
    which takes one pass at the rate of memory), then mixed; rows are added up. No cryptography:
    it tells rows that were changed, not rows that were made to look alike.

    Attributes:
      sums: (3, 2) uint64 of each of PARTS, which may be added up over processes.
    """

    def __init__(self):
        self.sums = np.zeros((len(PARTS), len(_SALTS)), np.uint64)
        self._odd = np.zeros(0, np.uint64)

    def add(self, ids: np.ndarray, y: np.ndarray, matrices: Sequence[np.ndarray]) -> None:
        """Adds m rows: ids (m,) int64 or text, y (m, t) floats or `of_classes`, vectors (m, p)."""
        named, used = hashed(ids), 0
        found = []
        for matrix in (y, *matrices):
            words = np.ascontiguousarray(matrix).view(np.uint32)
            odd = self._multipliers(used + words.shape[1])[used:]
            found.append(np.einsum("ij,j->i", words, odd, dtype=np.uint64, casting="unsafe"))
            used += words.shape[1]
        targets, vectors = found[0], np.sum(found[1:], axis=0, dtype=np.uint64)
        parts = np.array([named + targets + vectors, named + targets, named + vectors])  # (3, m)
        self.sums += _added(parts)

    def texts(self) -> dict[str, str]:
        """Of all rows so far, by part."""
        return dict(zip(PARTS, map(_text, self.sums), strict=True))

    def _multipliers(self, count: int) -> np.ndarray:
        if len(self._odd) < count:
            generator = np.random.default_rng(1)
            self._odd = generator.integers(2**63, size=count, dtype=np.uint64) * 2 + 1
        return self._odd[:count]


def of_classes(classes: Sequence[str]) -> np.ndarray:
    """(c, 1) a number for each label, which stands for it among targets."""
    return pd.util.hash_array(np.array(classes, object))[:, None]


def of_labels(ids: np.ndarray, *labels: np.ndarray) -> str:
    """Of ids (n,) with labels (n,) of any kinds, in whichever order the rows are."""
    parts = hashed(ids)
    for label in labels:
        kind = {"i": np.int64, "u": np.int64, "f": float}.get(label.dtype.kind)
        known = label.astype(str).astype(object) if kind is None else label.astype(kind)
        parts = _mixed(parts) + pd.util.hash_array(known)
    return _text(_added(parts[None])[0])


def hashed(ids: np.ndarray) -> np.ndarray:
    """(n,) uint64 of ids. A text that writes a whole number counts as it: tables may differ."""
    if ids.dtype != object:
        return pd.util.hash_array(ids)
    whole = np.fromiter((_WHOLE.fullmatch(text) is not None for text in ids), bool, len(ids))
    found = np.empty(len(ids), np.uint64)
    found[whole] = pd.util.hash_array(ids[whole].astype(np.int64))
    found[~whole] = pd.util.hash_array(ids[~whole])
    return found


def _added(parts: np.ndarray) -> np.ndarray:
    """(a, m) → (a, 2) sums over rows, mixed with each salt."""
    mixed = [_mixed(parts * salt).sum(axis=1, dtype=np.uint64) for salt in _SALTS]
    return np.array(mixed).T


def _text(sums: np.ndarray) -> str:
    return "".join(f"{value:016x}" for value in sums)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Every bit of 64 depends on all (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
