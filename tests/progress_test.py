"""Progress on one long call: the estimate against the clock, or the clock alone."""

import fcntl
import io
import os
import re
import struct
import sys
import termios
import time
import types

import pytest

from ecjax import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def said(monkeypatch, stream, seconds):
    """What is printed during a call of 0.3 seconds, lines being due every tenth of one."""
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.1)
    monkeypatch.setattr(progress, "TICK_S", 0.02)
    value = progress.Progress(stream).run(lambda: time.sleep(0.3) or 7, "evaluate", seconds)
    assert value == 7
    return stream.getvalue()


@pytest.mark.parametrize(
    "seconds, line",
    [(83, "evaluate: 0:01 of about 1:23"), (0.01, "evaluate: 0:01 of about 0:01"),
     (None, "evaluate: 0:01")],
)  # fmt: skip
def test_lines_show_the_estimate_where_it_is_known(monkeypatch, seconds, line):
    assert set(said(monkeypatch, io.StringIO(), seconds).splitlines()) == {line}


def test_the_bar_holds_at_99_percent(monkeypatch):
    text = said(monkeypatch, Terminal(), 0.01)
    assert " 99% |" in text and "of about 0:01" in text and "100%" not in text


def test_no_bar_without_an_estimate(monkeypatch):
    text = said(monkeypatch, Terminal(), None)
    assert "evaluate: 0:01" in text and "%" not in text and "about" not in text


@pytest.mark.parametrize("size", [(0, 0), (24, 80)])
def test_a_terminal_that_does_not_tell_its_size_has_a_bar(monkeypatch, size):
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    with open(theirs, "w") as stream, open(ours, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", stream)  # of others tqdm does not ask the size
        monkeypatch.setattr(progress, "TICK_S", 0.02)
        progress.Progress().run(lambda: time.sleep(0.1), "evaluate", 10)
        os.set_blocking(ours, False)
        shown = (screen.read(1 << 14) or b"").decode()
    assert re.search(r"evaluate: +\d+% \|.*\| 0:01 of about 0:10", shown)


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_work_that_tells_its_share_is_believed(monkeypatch, stream):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.1)
    monkeypatch.setattr(progress, "TICK_S", 0.02)
    said, started = stream(), time.monotonic()

    def share():
        return (time.monotonic() - started) / 60

    progress.Progress(said).run(lambda: time.sleep(0.3), "fetch", None, share)
    assert re.search("0:01 of about (0:59|1:0[0-9])", said.getvalue())
    assert ("  0% |" in said.getvalue()) == said.isatty()


@pytest.fixture
def fast_clock(monkeypatch):
    """A minute passes in the third of a second that a call takes."""
    clock = types.SimpleNamespace(monotonic=lambda: 200 * time.monotonic())
    monkeypatch.setattr(progress, "time", clock)


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_work_that_takes_longer_than_estimated_is_said_to(monkeypatch, fast_clock, stream):
    text = said(monkeypatch, stream(), 20.0)
    last = text.replace("\r", "\n").split("longer than the estimated 0:20")
    assert len(last) > 1 and "%" not in "".join(last[1:])
    shown = re.findall(r"evaluate: (\d):(\d\d), longer", text)
    assert shown and all(60 * int(m) + int(s) > 20 for m, s in shown)


def test_seconds_against_the_estimate():
    texts = [progress.clock_text(seconds, 83.2) for seconds in (0, 83.4, 83.6, 150)]
    assert texts[:2] == ["0:01 of about 1:23", "1:23 of about 1:23"]
    assert texts[2:] == [f"{now}, longer than the estimated 1:23" for now in ("1:24", "2:30")]


def test_errors_reach_the_caller():
    def work():
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        progress.Progress(io.StringIO()).run(work, "evaluate", None)
