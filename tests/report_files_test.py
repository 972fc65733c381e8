"""The page and figures are replaced whole, and go with the tables that they were made of."""

import json
import os

import pytest
import store_test

from ecjax import report_files, store
from ecjax.atomic import WriteError


def written(folder):
    """Writes small tables; returns what of an earlier report that removed."""
    return store.write_results(folder, store_test.frames(), store_test.manifest())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_page_is_replaced_at_once(tmp_path, monkeypatch):
    written(tmp_path)
    assert report_files.replace_page(tmp_path, "old").read_text() == "old"

    def failing(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(WriteError, match="No space left"):
        report_files.replace_page(tmp_path, "new")
    assert (tmp_path / "report.html").read_text() == "old"
    assert not list(tmp_path.glob(".writing-*"))


def test_figures_of_one_format_are_replaced_and_all_are_listed(tmp_path):
    report_files.replace_figures(tmp_path, "png", {"index": ("index", b"old")})
    old = {"index": ("index", b"old"), "b": ("b", b"old")}
    report_files.replace_figures(tmp_path, "pdf", old)
    (tmp_path / "figures" / "mine.pdf").write_bytes(b"mine")
    (path,) = report_files.replace_figures(tmp_path, "pdf", {"index": ("index of all", b"new")})
    assert path == tmp_path / "figures" / "index.pdf" and path.read_bytes() == b"new"
    assert names(tmp_path / "figures") == ["figures.json", "index.pdf", "index.png", "mine.pdf"]
    listed = json.loads((tmp_path / "figures" / "figures.json").read_text("utf-8"))
    assert listed == {"index.pdf": "index of all", "index.png": "index"}


def test_a_rerun_removes_what_was_made_of_earlier_tables(tmp_path):
    written(tmp_path)
    report_files.replace_page(tmp_path, "page")
    (tmp_path / "tables.tex").write_text("tables")
    report_files.replace_figures(tmp_path, "png", {"a": ("a", b"a"), "b": ("b", b"b")})
    (tmp_path / "figures" / "mine.png").write_bytes(b"mine")
    assert written(tmp_path) == ["report.html", "tables.tex", "figures (2 files)"]
    assert names(tmp_path / "figures") == ["mine.png"] and "report.html" not in names(tmp_path)
    assert written(tmp_path) == []


def test_a_foreign_list_of_figures_removes_nothing_elsewhere(tmp_path):
    written(tmp_path)
    (tmp_path / "figures").mkdir()
    (tmp_path / "outside.png").write_bytes(b"")
    evil = {"../outside.png": "", "../manifest.json": "", "/etc/x.png": "", "notes.txt": ""}
    (tmp_path / "figures" / "notes.txt").write_text("mine")
    (tmp_path / "figures" / "figures.json").write_text(json.dumps(evil))
    assert written(tmp_path) == []
    assert (tmp_path / "outside.png").exists() and (tmp_path / "figures" / "notes.txt").exists()
