"""Tables of a data set on the model hub, by its own addresses over https.

These are: the commit that a revision stands for, the listing of a folder at that commit, which
gives each file's size and SHA-256, and the file. Nothing is sent that tells who asks, so that only
public data sets can be had.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecjax import web
from ecjax.errors import InputError, listing, quote
from ecjax.models import Unavailable

TABLE_BYTES = 1 << 29
EXPANDED_BYTES = 1 << 31
LISTING_BYTES = 1 << 24


class Hub:
    """A data set, at the commit that a revision stands for when it is first asked.

    Args:
      endpoint: address of the hub.
      dataset: OWNER/NAME.
      revision: a branch, tag or commit.

    Attributes:
      commit: that of all tables so far; None before the first.

    Raises:
      InputError: such a revision cannot be.
    """

    def __init__(self, endpoint: str, dataset: str, revision: str):
        if not re.fullmatch(r"[\w./-]+", revision) or ".." in revision:
            raise InputError(f"revision {quote(revision)}: give a branch, tag or commit")
        self._endpoint, self._dataset, self._revision = endpoint.rstrip("/"), dataset, revision
        self.commit: str | None = None

    @property
    def shown(self) -> str:
        """Its address, for messages."""
        return f"{web.shown(self._endpoint)}/datasets/{self._dataset}"

    def table(self, name: str) -> tuple[pa.Table, str]:
        """`data/NAME/data.parquet`, and the SHA-256 of that file.

        Raises:
          InputError: there is no such table, or it cannot be read.
          Unavailable: the hub does not answer, or what it gives is damaged.
        """
        path = f"data/{name}/data.parquet"
        files = {entry["path"]: entry for entry in self._listed(f"data/{name}") or ()}
        if path not in files:
            there = sorted(Path(entry["path"]).name for entry in self._listed("data") or ())
            raise InputError(
                f"{self.shown}: has no {path} at revision {quote(self._revision)}, only "
                f"{listing(there, 60) or 'no table'}; ask for an earlier revision, or for another "
                "label set"
            )
        url = f"{self._endpoint}/datasets/{self._dataset}/resolve/{self.commit}/{path}"
        answer = web.get(url, most=TABLE_BYTES)
        if answer is None:
            raise Unavailable(f"{self.shown}: {path} is listed, but not there")
        checksum = hashlib.sha256(answer.content).hexdigest()
        listed = (files[path].get("lfs") or {}).get("oid", checksum), files[path].get("size")
        if listed != (checksum, answer.size):
            raise Unavailable(f"{self.shown}: {path} is damaged (not the SHA-256 or size listed)")
        return _read(answer.content, f"{self.shown}: {path}"), checksum

    def _listed(self, folder: str) -> list[dict[str, Any]] | None:
        start = f"{self._endpoint}/api/datasets/{self._dataset}"
        if self.commit is None:
            found = self._json(f"{start}/revision/{self._revision}")
            if found is None:
                raise InputError(
                    f"{self.shown}: there is no revision {quote(self._revision)}; check the "
                    "revision, or HF_ENDPOINT"
                )
            commit = found.get("sha") if isinstance(found, dict) else None
            if not re.fullmatch("[0-9a-f]{40}", str(commit)):
                raise Unavailable(f"{self.shown}: the hub does not tell the commit")
            self.commit = commit
        return self._json(f"{start}/tree/{self.commit}/{folder}")

    def _json(self, url: str) -> Any:
        answer = web.get(url, most=LISTING_BYTES)
        try:
            return None if answer is None else json.loads(answer.content)
        except ValueError:
            raise Unavailable(f"{web.shown(url)}: gives no JSON") from None


def _read(content: bytes, where: str) -> pa.Table:
    """A Parquet file of bounded size, once it is expanded."""
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        groups = range(file.metadata.num_row_groups)
        expanded = sum(file.metadata.row_group(group).total_byte_size for group in groups)
        if expanded > EXPANDED_BYTES:
            raise InputError(
                f"{where}: expands to {expanded:,} bytes, and at most {EXPANDED_BYTES:,} are read"
            )
        return file.read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{where}: cannot be read as Parquet ({error})") from None
