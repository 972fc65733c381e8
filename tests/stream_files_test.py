"""Tables in pieces, in another order, and while something writes to them."""

import itertools
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecjax import stream_files
from ecjax.atomic import WriteError
from ecjax.errors import InputError
from ecjax.remote import RemotePath, path_of
from ecjax.stream_files import StoredTable
from ecjax.stream_order import arranged
from ecjax.study import EmbeddingSource
from ecjax.tables import EmbeddingReader

N = 100
_numbers = itertools.count()


def table(first=0, n=N, kind=np.float32):
    numbers = np.arange(first, first + n)
    return pa.table({"id": numbers, "e0": numbers.astype(kind), "e1": -numbers.astype(kind)})


@pytest.fixture(params=["parts", "remote parts", "csv"])
def stored(tmp_path, request):
    if request.param == "csv":
        files = [tmp_path / "a.csv"]
        table().to_pandas().to_csv(files[0], index=False)
    else:
        files = [tmp_path / f"{i}.parquet" for i in range(2)]
        pq.write_table(table(0, 60), files[0], row_group_size=25)
        pq.write_table(table(60, 40, np.float64), files[1])
    if request.param == "remote parts":
        pytest.importorskip("fsspec", reason="needs fsspec: pip install 'ecjax[cloud]'")
        there = path_of(f"memory://parts{next(_numbers)}")
        for file in files:
            (there / file.name).write_bytes(file.read_bytes())
        files = [there / file.name for file in files]
    return StoredTable(EmbeddingReader(EmbeddingSource("a", tmp_path, tuple(files))))


def numbers(pieces):
    return np.concatenate([piece["e0"].to_numpy() for piece in pieces]).astype(int).tolist()


@pytest.mark.parametrize("most", [7, 25, 1000])
def test_pieces_are_the_rows_asked_for(stored, most):
    assert stored.rows == N and stored.vectors_width() == 2
    every = list(stored.pieces(np.arange(N), ["e1", "e0"], most))
    assert max(map(len, every)) <= most and numbers(every) == list(range(N))
    assert {str(piece.schema) for piece in every} == {"e1: double\ne0: double"}
    for wanted in ([3], [24, 25], [0, 59, 60, 99], list(range(30, 90)), []):
        assert numbers([stored.columns(["e0"]).empty_table(),
                        *stored.pieces(np.array(wanted, int), ["e0"], most)]) == wanted  # fmt: skip
    assert stored.whole(["id"])["id"].to_pylist() == list(map(str, range(N))) or (
        stored.whole(["id"])["id"].to_pylist() == list(range(N))
    )


def test_large_row_groups_are_read_by_little(stored, monkeypatch):
    monkeypatch.setattr(stream_files, "BUFFERED_BYTES", 0)
    assert numbers(stored.pieces(np.arange(N), ["e0"], 10)) == list(range(N))


@pytest.mark.parametrize("budget", [1, 400, 1e9])
def test_rows_come_in_another_order(stored, tmp_path, budget):
    place = np.random.default_rng(0).permutation(N)[:77]
    folder = tmp_path / "order"
    folder.mkdir()
    pieces = arranged(stored, place, ["e0"], folder, 9, budget)
    for _ in range(2):  # again and again
        found = list(pieces())
        assert numbers(found) == place.tolist() and max(map(len, found)) <= 9
    assert any(folder.iterdir())


def test_an_order_that_is_there_takes_no_files(stored, tmp_path):
    folder = tmp_path / "order"
    folder.mkdir()
    place = np.arange(0, N, 3)
    assert numbers(arranged(stored, place, ["e0"], folder, 9, 1e9)()) == place.tolist()
    assert not any(folder.iterdir())


def test_a_place_without_room_is_named(stored, tmp_path):
    place = np.arange(N)[::-1]
    with pytest.raises(WriteError, match="name a directory with more room in TMPDIR"):
        arranged(stored, place, ["e0"], tmp_path / "not there", 9, 1e9)


def test_of_a_remote_file_only_what_is_wanted_is_fetched(tmp_path, monkeypatch):
    pytest.importorskip("fsspec", reason="needs fsspec: pip install 'ecjax[cloud]'")
    file, fetched = path_of("memory://wide/a.parquet"), []
    columns = {f"e{i}": np.random.default_rng(i).normal(size=20_000) for i in range(20)}
    pq.write_table(pa.table({"id": range(20_000)} | columns), tmp_path / "a", row_group_size=5000)
    file.write_bytes((tmp_path / "a").read_bytes())
    reads = RemotePath.read_bytes
    monkeypatch.setattr(
        RemotePath, "read_bytes", lambda *given: (fetched.append(given[1]), reads(*given))[1]
    )
    stored = StoredTable(EmbeddingReader(EmbeddingSource("a", None, (file,))))
    (piece,) = stored.pieces(np.arange(5000, 10_000), ["e3"], 5000)
    assert np.array_equal(piece["e3"], columns["e3"][5000:10_000])
    assert 40_000 <= sum(fetched) < file.stat().st_size / 10


def grow(file):
    file.write_bytes(file.read_bytes() + b"1,2,3\n")


def cut(file):
    file.write_bytes(file.read_bytes()[:-5])


def touch(file):
    os.utime(file, ns=(1, 1)) if isinstance(file, Path) else file.write_bytes(file.read_bytes())


def remove(file):
    file.unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (grow, "grew from"),
        (cut, "shrank from"),
        (touch, "was written again"),
        (remove, "is no longer there"),
    ],
)
def test_a_file_that_changes_is_noticed(stored, change, words):
    stored.check_unchanged()
    if change is touch and not isinstance(stored.reader.source.files[0], Path):
        pytest.skip("this store does not tell when a file was written")
    change(stored.reader.source.files[-1])
    with pytest.raises(InputError, match=f"the file {words} .*while it was read"):
        numbers(stored.pieces(np.arange(N), ["e0"], 10))
        stored.check_unchanged()


def test_a_damaged_row_group_is_told_as_in_memory(tmp_path):
    file = tmp_path / "a.parquet"
    pq.write_table(table(), file, write_page_checksum=True, compression="none")
    whole = bytearray(file.read_bytes())
    place = whole.find(np.arange(10, 14).astype(np.float32).tobytes())
    whole[place] ^= 1
    file.write_bytes(whole)
    stored = StoredTable(EmbeddingReader(EmbeddingSource("a", file, (file,))))
    with pytest.raises(InputError, match="damaged or not parquet"):
        numbers(stored.pieces(np.arange(N), ["e0"], 10))
