"""Rows of the list of inputs that are not what they should be: files, parts and where they are."""

import os
import struct

import object_store
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from make_tables import labels, lists, study, vectors
from wild import BINARY, LISTS, TABLES, TEXTS, WIDE, Case, row

from ecjax import filesystems, limits


@pytest.fixture
def case(tmp_path, container, capsys):
    return Case(tmp_path, container, capsys)


@row(1, "error", *TABLES)
def test_missing_file(case):
    case.embedding(vectors())
    (case.folder / case.name).unlink()
    study_file = case.folder / "study.toml"
    case.refused(str(study_file), "[embeddings.a]: path", "no file", "relative to the study file")


@row(1, "error", *WIDE)
def test_missing_labels(case):
    case.task(labels())
    (case.folder / case.name).unlink()
    case.refused("[tasks.t]: path", "no file", "check it")


@row(2, "error", *TABLES)
def test_empty_file(case):
    case.embedding(vectors())
    (case.folder / case.name).write_bytes(b"")
    case.refused('embedding "a"', "empty (0 bytes)", "write or copy it again")


@row(2, "error", *TABLES)
def test_no_rows(case):
    case.embedding(vectors().iloc[:0]).refused("columns but no rows", "fill or remove it")


@row(3, "error", *BINARY, *LISTS, "csv.gz")
def test_truncated(case):
    case.embedding(vectors())
    path = case.folder / case.name
    path.write_bytes(path.read_bytes()[:-100])
    case.refused('embedding "a"', "truncated", "write or copy it again")


@row(3, "error", "parquet", "lists.parquet", "geo.parquet")
def test_damaged_footer(case):
    case.embedding(vectors())
    path = case.folder / case.name
    content = bytearray(path.read_bytes())
    content[-60:-20] = b"\xff" * 40
    path.write_bytes(content)
    case.refused("damaged", "write or copy the file again")


@row(4, "error", "parquet", "geo.parquet", "csv.gz")
def test_flipped_bit_under_a_checksum(case):
    case.embedding(vectors())
    path = case.folder / case.name
    if case.container != "csv.gz":
        plain = {"compression": "none", "use_dictionary": False}
        pq.write_table(pq.read_table(path), path, write_page_checksum=True, **plain)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    case.refused("damaged", "copy the file again")


CONTENTS = {
    "Parquet": b"PAR1 and so on PAR1",
    "a zip archive or spreadsheet": b"PK\x03\x04 sheet",
    "gzip": b"\x1f\x8b squeezed",
    "Arrow IPC": b"ARROW1\0\0 and so on ARROW1",
    "NumPy": b"\x93NUMPY\x01\0",
    "something else": b"id,emb_0,emb_1\n1,2.5,3.5\n",
}


@row(5, "error", *WIDE, "npy")
def test_extension_differs_from_content(case):
    own = {"csv": "something else", "csv.gz": "gzip", "feather": "Arrow IPC", "npy": "NumPy"}
    for found, content in CONTENTS.items():
        if found != own.get(case.container, "Parquet"):
            case.embedding(vectors())
            (case.folder / case.name).write_bytes(content)
            case.refused("the extension says", found, "rename or convert it")


@row(5, "error", "xlsx", "txt")
def test_extension_not_read(case):
    (case.folder / f"a.{case.container}").write_bytes(b"PK\x03\x04")
    case.embedding().refused("are not read", "Parquet (.parquet, .pq)", "CSV (.csv", "convert")


CRAFTED = {  # what stands in the messages of a file of 60 rows of floats, and what shall
    "a buffer beyond the file": (struct.pack("<q", 480), struct.pack("<q", 2**40)),
    "a buffer of negative length": (struct.pack("<q", 480), struct.pack("<q", -480)),
    "more rows than values": (struct.pack("<q", 60), struct.pack("<q", 61)),
    "lists beyond their values": (struct.pack("<2i", 236, 240), struct.pack("<2i", 236, 2**30)),
    "lists that go backwards": (struct.pack("<2i", 8, 12), struct.pack("<2i", 8, -12)),
}


@row(6, "error", "feather", "lists.feather")
@pytest.mark.parametrize("what", CRAFTED)
def test_crafted(case, what):
    content, (old, new) = case.embedding(vectors()).bytes(), CRAFTED[what]
    if "lists" in what and case.container == "feather":
        content = content.replace(b"emb_3", b"emb_\xff")  # a name that is no text
    elif "lists" in what or case.container == "feather" or old in content:
        assert old in content
        content = content.replace(old, new)
    case.rewrite(content).refused('embedding "a"', "damaged", "write or copy the file again")


@row(7, "error", *TABLES)
def test_more_bytes_than_allowed(case):
    case.embedding(vectors(16), b="b.parquet", task="labels.parquet")  # which take less
    words = ("bytes or more when read", "--max_input_bytes is 2,500", "give fewer rows, or say")
    case.refused(*words, max_input_bytes=2500)


@row(7, "error", "csv.gz", "parquet", "feather", "geo.parquet")
def test_a_small_file_that_expands(case, monkeypatch):
    monkeypatch.setattr(limits, "FREE_BYTES", 10**5)
    frame = vectors(16, n=20_000)
    frame[:] = 7.0
    case.embedding(frame.assign(lat=1.0, lon=2.0))
    path = case.folder / case.name
    if case.container == "feather":
        table, options = (
            pa.ipc.open_file(path).read_all(),
            pa.ipc.IpcWriteOptions(compression="zstd"),
        )
        with pa.ipc.new_file(path, table.schema, options=options) as writer:
            writer.write_table(table)
    assert path.stat().st_size < 10**5
    case.refused("bytes would expand to", "if it is meant, say --max_input_bytes=")


@row(8, "error", *TEXTS)
def test_not_utf8(case):
    content = case.embedding(vectors().assign(place="xyzx")).bytes()
    offset = content.index(b"xyzx")
    case.rewrite(content.replace(b"xyzx", b"\xe9zyx", 1))
    case.refused(f"not UTF-8 at byte {offset:,}", "save the file as UTF-8")


@row(8, "error", *TEXTS)
def test_cut_in_a_character(case):
    content = case.task(labels()).bytes() + "é".encode()[:1]
    case.rewrite(content).refused(f"not UTF-8 at byte {len(content) - 1:,}")


@row(9, "error", *TEXTS)
def test_ragged(case):
    lines = case.embedding(vectors()).bytes().decode().splitlines()
    lines[7] += ",1"
    lines[12] = "5"
    lines.insert(3, "")  # a blank line counts
    case.rewrite("\n".join(lines).encode())
    words = ("2 ragged lines", "line 9", "6 values instead of 5", "correct it, or quote values")
    case.refused(*words)


@row(23, "error", *WIDE)
def test_names_differ_between_parts(case):
    end = case.container
    case.name = f"2.{end}"
    case.write(vectors().iloc[:30], f"parts/1.{end}")
    case.write(vectors().iloc[30:].rename(columns={"emb_3": "emb_4"}), f"parts/2.{end}")
    study(case.folder, a=f"parts/*.{end}")
    case.refused("2 columns", '"emb_4", "emb_3"', f"1.{end}", "the same columns")


@row(23, "error", "parquet", "feather")
def test_width_differs_between_parts(case):
    end = case.container
    case.name = f"2.{end}"
    case.write(lists(vectors(4).iloc[:30], fixed=True), f"parts/1.{end}")
    case.write(lists(vectors(5).iloc[30:], fixed=True), f"parts/2.{end}")
    study(case.folder, a=f"parts/*.{end}")
    case.refused('"embedding"', "[5]", "[4]", f"1.{end}", "store all parts alike")


@row(39, "error", *TABLES)
def test_unreadable(case):
    path = case.folder / case.embedding(vectors()).name
    path.unlink()
    path.symlink_to("/proc/self/mem")  # of which root too reads nothing
    case.refused('embedding "a"', "cannot be read", "check the path")


@row(39, "error", *TABLES)
def test_a_pipe(case):
    path = case.folder / case.embedding(vectors()).name
    path.unlink()
    os.mkfifo(path)  # opened for reading, it would wait for a writer
    case.refused("[embeddings.a]: path", "is neither a file nor a folder", "give one")


@row(39, "error", "s5", "folder")
def test_nothing_to_read(case):
    path = {"s5": "s5://bucket/a.parquet", "folder": "empty"}[case.container]
    (case.folder / "empty").mkdir()
    case.name, words = path[:11], {"s5": "opens s5://", "folder": "no .parquet file"}
    study(case.folder, a=path)
    case.refused("[embeddings.a]: path", words[case.container])


@row(39, "error", *TABLES)
def test_a_store_that_lets_no_one_in(case, monkeypatch):
    monkeypatch.setattr(filesystems, "ATTEMPTS", 2)
    with object_store.failing(403) as (bucket, requests):
        study(case.folder, a=bucket.url(f"a.{case.container}"))
        case.name = f"s3://bucket/a.{case.container}"
        message = case.refused(
            "[embeddings.a]: path", "cannot be looked up", "check the URL, and the cred"
        )
        assert 1 <= len(requests) <= 2
    assert not any(secret in message for secret in ("user", "word", "127.0.0.1"))
