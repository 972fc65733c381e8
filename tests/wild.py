"""Studies with one thing wrong, in every container of a table, and what becomes of them."""

import gzip
import json
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from make_tables import labels, lists, study, vectors, write

import ecjax
from ecjax import cli
from ecjax.align import align, describe
from ecjax.arrays import align_arrays

TEXTS = "csv", "csv.gz"
BINARY = "parquet", "feather", "geo.parquet"
WIDE = (*TEXTS, *BINARY)  # one column of each dimension; also the containers of tasks
LISTS = "lists.parquet", "lists.feather", "npy"  # one column of lists, or an array and its ids
TABLES = (*WIDE, *LISTS)
ARRAYS = "arrays"  # in memory, given to ecjax.evaluate
SETTINGS = {"protocol": "paper", "folds": 5}
PLACES = 'lat = "lat"\nlon = "lon"'  # keys of a task; in GeoParquet both are in one column


class Row(NamedTuple):
    """What a test is of: a row of the list, what shall become of it, and in which containers."""

    number: int | str
    outcome: str
    containers: tuple[str, ...]


def row(number: int | str, outcome: str, *containers: str):
    """Marks a test as one of a row of the list, to be repeated in these containers."""

    def marked(test):
        test.row = Row(number, outcome, containers)
        return pytest.mark.parametrize("container", containers)(test)

    return marked


class Case:
    """A study with one thing wrong, in one container: makes it, and tells what becomes of it."""

    def __init__(self, folder, container, capsys):
        self.folder, self.container, self._capsys = folder, container, capsys
        self.out = folder / "out"
        self.name = "(array)" if container == ARRAYS else ""  # of the table that is wrong
        self.given = ()

    def embedding(self, frame=None, **keys) -> "Case":
        """Embedding a shall be this table, or what is there already."""
        self.name = self.name or f"a.{self.container}"
        if self.container == ARRAYS:
            task, b = labels(), vectors(3, seed=2).drop(columns="id")
            of_task = ecjax.Task(task[keys.get("target", "height")], id=task["id"])
            self.given = {"a": frame.drop(columns="id"), "b": b}, {"t": of_task}
            return self
        if frame is not None:
            self.write(frame, self.name)
        if self.container == "npy":
            keys["a_keys"] = (
                keys.get("a_keys", "") + f'\nids = "{self.name.replace(".npy", "_ids.npy")}"'
            )
        study(self.folder, a=self.name, **keys)
        return self

    def task(self, frame=None, target="height", kind="regression", **keys) -> "Case":
        """The task's table shall be this one, or what is there already."""
        self.name = self.name or f"labels.{self.container}"
        if self.container == ARRAYS:
            a, b = (vectors(p, seed=s).drop(columns="id") for p, s in ((4, 1), (3, 2)))
            places = {key: frame[key] for key in ("lat", "lon") if f"{key} = " in str(keys)}
            task = ecjax.Task(frame[target], kind=kind, id=frame["id"], **places)
            self.given = {"a": a, "b": b}, {"t": task}
            return self
        if frame is not None:
            self.write(frame, self.name)
        if self.container == "geo.parquet" and keys.get("task_keys") == PLACES:
            keys["task_keys"] = 'geometry = "geometry"'
        study(self.folder, task=self.name, target=target, kind=kind, **keys)
        return self

    def write(self, frame, name) -> None:
        """Writes a table as the name says; in GeoParquet every row has a point."""
        if ".lists." in name and isinstance(frame, pd.DataFrame):
            with np.errstate(over="ignore"):  # 1e39 is infinite in float32
                frame = lists(frame)
        if name.endswith(".geo.parquet") and isinstance(frame, pa.Table):
            pq.write_table(frame, self.folder / name)
            return
        if name.endswith(".geo.parquet") and "lat" not in frame:
            lat, lon = np.random.default_rng(8).uniform(-60, 60, (2, len(frame)))
            frame = frame.assign(lat=lat, lon=lon)
        write(frame, self.folder / name)

    def bytes(self) -> bytes:
        """What is in the table's file, uncompressed."""
        content = (self.folder / self.name).read_bytes()
        return gzip.decompress(content) if self.name.endswith(".gz") else content

    def rewrite(self, content: bytes) -> "Case":
        """Gives the table's file another content, which is compressed where it was."""
        squeezed = gzip.compress(content) if self.name.endswith(".gz") else content
        (self.folder / self.name).write_bytes(squeezed)
        return self

    def column(self, j: int) -> str:
        """How messages call a dimension of embedding a."""
        return f"embedding[{j}]" if self.container in LISTS else f"emb_{j}"

    @property
    def columns(self) -> str:
        """How messages call all of them."""
        return f"{self.column(0)} … {self.column(3)}"

    def id(self, row: int) -> str:
        """How messages call a row; those about an array alone know no ids."""
        return f'id "{row if self.container == ARRAYS else 100 + row}"'

    def evaluate(self, **settings) -> int:
        """The exit code of `ecjax evaluate`; what it says is in `printed`."""
        flags = [f"--{name}={value}" for name, value in (SETTINGS | settings).items()]
        code = cli.main(["evaluate", str(self.folder / "study.toml"), f"--out={self.out}", *flags])
        self.printed = self.captured()
        return code

    def captured(self):
        """What was printed since this was asked last."""
        return self._capsys.readouterr()

    def refused(self, *words, **settings) -> str:
        """Asserts that the study is refused and nothing written; the message has all words."""
        if self.given:
            with pytest.raises(ecjax.InputError) as caught:
                ecjax.evaluate(*self.given, out=self.out, **{**SETTINGS, **settings})
            message = str(caught.value)
        else:
            assert self.evaluate(**settings) == cli.BAD_INPUT, self.printed
            message = self.printed.err
            assert "ecjax: " in message and "Traceback" not in message and not self.printed.out
        for word in (self.name, *words):
            assert word in message, message
        assert not self.out.exists()
        return message

    def undefined(self):
        """Runs it, asserts that numbers are null for a reason, and returns scores and manifest."""
        if self.given:
            result = ecjax.evaluate(*self.given, **SETTINGS)
            assert result.undefined
            return result.scores, result.manifest
        assert self.evaluate() == cli.UNDEFINED, self.printed
        manifest = json.loads((self.out / "manifest.json").read_text("utf-8"))
        return pd.read_parquet(self.out / "scores.parquet"), manifest

    def aligned(self):
        (task,) = (
            align_arrays(*self.given)
            if self.given
            else align(ecjax.read_study(self.folder / "study.toml"))
        )
        return task

    def noted(self, source, reason, count, first):
        """Asserts that it goes on and that this is noted, by `ecjax validate` too."""
        task = self.aligned()
        notes = {(n.source, n.reason): (n.count, n.first) for n in task.notes}
        assert notes[source, reason] == (count, first)
        assert f"{count} " in describe([task])
        return task


def spoilt(frame, rows, column, value):
    """The table with another value in some rows of one or more columns."""
    frame = frame.astype({column: object} if isinstance(value, str) else {})
    frame.loc[rows, column] = value
    return frame


def crowded():
    """Six rows, from id 110 on, within half a kilometre of each other; the others far away."""
    frame = labels()
    frame.loc[10:15, "lat"] = 70 + np.arange(6) * 1e-4
    frame.loc[10:15, "lon"] = 10.0
    return frame


def flat(text):
    """A text without its line breaks."""
    return " ".join(text.split())
