"""What is said and written about a run that is under way."""

import json

import pytest

from ecjax.atomic import WriteError
from ecjax.journal import FILE, Journal
from ecjax.places import RemotePlace, place_of
from ecjax.progress import Silent


class Said(Silent):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture
def said():
    return Said()


@pytest.fixture
def journal(tmp_path, said):
    return Journal(place_of(tmp_path), said)


def written(tmp_path):
    return json.loads((tmp_path / FILE).read_text("utf-8"))


def test_time_left_is_what_was_estimated_at_the_pace_that_was_measured(journal, tmp_path, said):
    journal.expect([10.0, 20.0, 30.0], done=2)
    assert written(tmp_path)["cells"] == 5 and written(tmp_path)["done"] == 2
    assert written(tmp_path)["seconds_left"] is None
    journal.finished("abc.cell", "biomass, 15 sets", 10.0, 4.0)
    assert journal.seconds_left == pytest.approx(20.0)
    assert journal.in_words() == "3 of 5 cells are done"
    assert said.lines == [
        "2 of 5 cells are done already",
        "cell 3/5 abc.cell: biomass, 15 sets: 4.0 s; 0:20 left",
    ]
    journal.finished("b.cell", "…", 20.0, 8.0)
    journal.finished("c.cell", "…", 30.0, 12.0)
    assert "left" not in said.lines[-1]
    journal.state("done")
    found = written(tmp_path)
    assert (found["state"], found["done"], found["seconds_left"]) == ("done", 5, 0.0)
    assert found["pace"] == pytest.approx(0.4) and found["cells_per_minute"] == 7.5


def test_a_cell_that_is_lost_is_not_one_more(journal, tmp_path):
    journal.expect([10.0], done=1)
    journal.finished("a.cell", "…", 10.0, 5.0)
    journal.lost([10.0])
    assert journal.in_words() == "1 of 2 cells are done" and journal.seconds_left == 5.0
    journal.finished("a.cell", "…", 10.0, 5.0)
    assert journal.in_words() == "2 of 2 cells are done"


def test_a_store_that_has_failed_is_not_asked_again(tmp_path, said, monkeypatch):
    """A silent one would take another minute; a full disk may have room for a line."""
    written = []
    remote = RemotePlace(None)
    monkeypatch.setattr(RemotePlace, "write", lambda *given: written.append(given))
    Journal(remote, said).ended(WriteError("no answer for 60 s"))
    assert not written
    Journal(remote, said).ended(KeyboardInterrupt())
    assert len(written) == 1
    Journal(place_of(tmp_path), said).ended(WriteError("No space left on device"))
    assert json.loads((tmp_path / FILE).read_text("utf-8"))["state"] == "interrupted"


def test_a_single_cell_needs_no_line(journal, said):
    journal.expect([1.0], done=0)
    journal.finished("a.cell", "…", 1.0, 1.0)
    assert not said.lines


def test_a_single_cell_that_is_there_needs_none_either(journal, said):
    journal.expect([], done=1)
    assert not said.lines and journal.in_words() == "1 of 1 cells are done"


def test_quick_cells_do_not_each_write_the_file(journal, tmp_path, monkeypatch):
    journal.expect([1.0] * 100, done=0)
    writes = []
    monkeypatch.setattr(journal, "_write", writes.append)
    for _ in range(100):
        journal.finished("a.cell", "…", 1.0, 0.0)
    assert len(writes) < 5
