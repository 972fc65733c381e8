"""Tests of ecjax.remote: paths that URLs name, on fsspec's file systems in memory and here."""

import glob
import itertools
from pathlib import Path

import pytest

pytest.importorskip("fsspec", reason="needs fsspec: pip install 'ecjax[cloud]'")

from ecjax.remote import RemotePath, joined, path_of  # noqa: E402

_numbers = itertools.count()


@pytest.fixture(params=["memory", "local"])
def folder(request, tmp_path):
    """A folder of its own: one of objects, and one of a file system that renames."""
    start = {"memory": f"memory://remote{next(_numbers)}", "local": f"local://{tmp_path}"}
    return path_of(start[request.param])


def test_paths_as_those_of_pathlib():
    path = path_of("memory://box/run/study.v1.toml")
    assert isinstance(path, RemotePath) and str(path) == "memory://box/run/study.v1.toml"
    assert (path.name, path.suffix, path.stem) == ("study.v1.toml", ".toml", "study.v1")
    assert str(path.parent / "a/../b/./c.csv") == "memory://box/run/b/c.csv"
    assert path.parent / "study.v1.toml" == path and path.resolve() is path
    assert len({path, path.parent / "study.v1.toml", path.parent}) == 2
    assert str(path_of("memory://box").parent) == "memory://box"
    names = ["a-b/x", "a/z", "a/b"]
    ours = sorted(path.parent / name for name in names)
    assert [p.url.path[4:] for p in ours] == [str(p) for p in sorted(map(Path, names))]


def test_what_names_are_joined_to(tmp_path):
    remote = path_of("memory://box/run")
    assert joined(tmp_path, "a.csv") == tmp_path / "a.csv"
    assert joined(remote, str(tmp_path)) == tmp_path  # absolute
    assert str(joined(tmp_path, "memory://box/x")) == "memory://box/x"
    assert str(joined(remote, "../x")) == "memory://box/x"
    assert path_of("file:///a%20b/c") == Path("/a b/c") and path_of("a") == Path("a")
    assert path_of(remote) is remote


def test_files_come_and_go(folder):
    file = folder / "deep/er/x.bin"
    content = bytes(range(256)) * 100
    assert not file.exists() and not folder.is_dir() or folder.url.scheme == "local"
    file.write_bytes(content)
    assert file.exists() and file.is_file() and not file.is_dir() and file.parent.is_dir()
    assert file.read_bytes() == content and file.read_bytes(7) == content[:7]
    assert file.stat().st_size == len(content)
    file.write_bytes("né".encode())
    assert file.read_text("utf-8") == "né"
    assert [p.name for p in file.parent.iterdir()] == ["x.bin"]  # nothing is left beside it
    file.unlink()
    file.unlink(missing_ok=True)
    for gone in (file.unlink, file.read_bytes, file.stat):
        with pytest.raises(FileNotFoundError, match="no such file"):
            gone()


def test_a_write_that_fails_leaves_what_was_there(folder, monkeypatch):
    file = folder / "x.bin"
    file.write_bytes(b"old")

    def failing(*arguments, **options):
        raise OSError(28, "No space left on device")

    behind = type(file.filesystem.handler.fs)
    monkeypatch.setattr(behind, "mv" if folder.url.scheme == "local" else "pipe_file", failing)
    with pytest.raises(OSError, match="No space left"):
        file.write_bytes(b"new")
    assert file.read_bytes() == b"old"
    assert [p.name for p in folder.iterdir()] == ["x.bin"]


def test_a_file_of_another_size_than_written_is_noticed(folder, monkeypatch):
    put = RemotePath._put
    monkeypatch.setattr(RemotePath, "_put", lambda self, n, c: put(self, n, c[:-1]))
    with pytest.raises(OSError, match="holds 3 bytes after 4 were written"):
        (folder / "x.bin").write_bytes(b"1234")


def test_an_opened_file_is_read_from_place_to_place(folder):
    file = folder / "numbers.txt"
    file.write_bytes(b"0123456789")
    with file.open("rb") as stream:
        assert (stream.read(3), stream.read(2), stream.tell()) == (b"012", b"34", 5)
        assert (stream.seek(-4, 2), stream.read(9), stream.read()) == (6, b"6789", b"")
        assert (stream.seek(1), stream.seek(2, 1), stream.read(1)) == (1, 3, b"3")
    with pytest.raises(ValueError, match="for reading only"):
        file.open("wb")


def test_a_slice_at_a_time(folder, monkeypatch):
    monkeypatch.setattr("ecjax.remote.SLICE", 10)
    content = bytes(range(95))
    (folder / "x.bin").write_bytes(content)
    assert (folder / "x.bin").read_bytes() == content
    assert (folder / "x.bin").read_bytes(42) == content[:42]


def test_patterns_match_as_those_of_glob(folder, tmp_path):
    names = ["a.csv", "b.csv", ".hidden.csv", "p/a.csv", "p/q/a.csv", "p/q/r/c.csv", ".h/a.csv",
             "p/x.parquet", "a1.csv"]  # fmt: skip
    here = tmp_path / "here"
    for name in names:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("x")
        (folder / "box" / name).write_bytes(b"x")
    patterns = ["*.csv", "a*", "?.csv", "[ab].csv", "p/*", "p/*/*.csv", "**/*.csv", "p/**",
                "*/a.csv", "**/q/*", "none*", "p/none", ".*.csv", "p/q/a.csv", "**"]  # fmt: skip
    for pattern in patterns:
        found = map(Path, glob.glob(pattern, root_dir=here, recursive=True))
        expected = sorted(p for p in set(found) if (here / p).is_file())
        start = len((folder / "box").url.path) + 1
        ours = [p.url.path[start:] for p in (folder / "box" / pattern).matches()]
        assert ours == [str(p) for p in expected], pattern
