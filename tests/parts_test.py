"""Which files a path stands for, and which it does not."""

import os
import shlex
import subprocess

import pytest
from make_tables import vectors, write_table

from ecjax import parts
from ecjax.errors import InputError
from ecjax.parts import files_of


def names(text, folder):
    return [path.relative_to(folder).as_posix() for path in files_of(text, folder, "w")]


@pytest.fixture
def folder(tmp_path):
    for name in ("p/1.parquet", "p/0.pq", "p/x.csv", "a/0.arrow", "a/1.feather", "a/x.csv",
                 "c/0.csv", "c/1.csv.gz", "c/x.txt"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_holds_parts_of_one_kind(folder):
    assert names("p", folder) == ["p/0.pq", "p/1.parquet"]
    assert names("a", folder) == ["a/0.arrow", "a/1.feather"]
    assert names("c", folder) == ["c/0.csv", "c/1.csv.gz"]
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="w: no file .*holds no .parquet file, nor other parts"):
        files_of("empty", folder, "w")


def test_links_within_a_folder_are_followed(folder):
    (folder / "p/2.parquet").symlink_to(folder / "p/1.parquet")
    assert names("p", folder) == ["p/0.pq", "p/1.parquet", "p/2.parquet"]
    (folder / "link").symlink_to(folder / "p")  # which the study names itself
    assert len(files_of("link", folder, "w")) == 3
    assert len(files_of("link/2.parquet", folder, "w")) == 1


@pytest.mark.parametrize("text", ["p", "p/*.parquet", "p/**/*.parquet", "?/*.parquet"])
def test_links_out_of_a_folder_are_refused(folder, tmp_path_factory, text):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write_table(vectors(), elsewhere / "secret.parquet")
    (folder / "p/2.parquet").symlink_to(elsewhere / "secret.parquet")
    with pytest.raises(InputError, match=r"w: 1 of \d parts are links .*2.parquet.*copy the files"):
        files_of(text, folder, "w")
    (folder / "p/2.parquet").unlink()
    (folder / "p/sub").symlink_to(elsewhere)
    if "**" in text:
        with pytest.raises(InputError, match="lead out of"):
            files_of(text, folder, "w")
    else:
        assert files_of(text, folder, "w")


@pytest.mark.parametrize("hub", [False, True])
def test_the_way_out_of_links_can_be_gone(folder, hub):
    """A folder of the hub's cache, which has links to the files of a folder beside it."""
    names = ("snapshots/1f/a b", "blobs") if hub else ("a b", "c")
    here, there = (folder / name for name in names)
    here.mkdir(parents=True)
    there.mkdir(exist_ok=True)
    (there / "0af").touch()
    (here / "0.parquet").symlink_to(there / "0af")
    with pytest.raises(InputError) as caught:
        files_of(str(here), folder, "w")
    assert ("hf://" in str(caught.value)) == hub
    command = str(caught.value).split("`")[1].replace("COPY", str(folder / "copy"))
    subprocess.run(shlex.split(command), check=True)
    assert files_of("copy", folder, "w") == (folder / "copy" / "0.parquet",)
    assert files_of(str(here / "0.parquet"), folder, "w")  # which the study names itself


def test_links_that_lead_nowhere_or_in_circles(folder):
    (folder / "p/2.parquet").symlink_to(folder / "gone.parquet")
    (folder / "p/3.parquet").symlink_to(folder / "p/3.parquet")
    assert names("p/*.parquet", folder) == ["p/1.parquet"]


def test_what_is_no_file(folder):
    os.mkfifo(folder / "pipe.csv")
    with pytest.raises(InputError, match="pipe.csv is neither a file nor a folder"):
        files_of("pipe.csv", folder, "w")


def test_too_many_files(folder, monkeypatch):
    monkeypatch.setattr(parts, "MOST_FILES", 1)
    for text in ("p", "p/*"):
        with pytest.raises(InputError, match="more than 1 files.*write larger parts"):
            files_of(text, folder, "w")
