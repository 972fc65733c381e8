"""Processes meet through the hub, and it tells of whoever leaves, is silent or does not come."""

import socket
import threading
import time

import pytest

from ecjax import meetings
from ecjax.meetings import Hub, Line


@pytest.fixture(autouse=True)
def short_ticks(monkeypatch):
    monkeypatch.setattr(meetings, "TICK_S", 0.1)


@pytest.fixture
def hub_of():
    """Starts a hub for so many processes."""
    hubs = []

    def started(count, port=0):
        hubs.append(Hub("localhost", port, count))
        hubs[-1].start()
        return hubs[-1]

    yield started
    for hub in hubs:
        hub._over = True


def line_to(hub):
    own, its = socket.socketpair()
    hub.adopt(its)
    return Line(own)


def member(hub, index, count):
    line = line_to(hub)
    line.send(hello={"index": index, "count": count, "host": f"node{index}"})
    return line


def members(hub, count=2):
    lines = [member(hub, index, count) for index in range(count)]
    for line in lines:
        assert heard(line)["hosts"] == [f"node{index}" for index in range(count)]
    return lines


def heard(line, seconds=5.0):
    """The next message that says anything; None if the line is closed, {} if nothing comes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        messages = line.read()
        if messages is None:
            return None
        said = [message for message in messages if message]
        if said:
            assert len(said) == 1
            return said[0]
    return {}


def test_all_are_ready_once_all_have_come(hub_of):
    hub = hub_of(2)
    first = member(hub, 0, 2)
    assert heard(first, 0.1) == {}
    second = member(hub, 1, 2)
    ready = heard(first)
    assert ready == heard(second)
    assert ready["hosts"] == ["node0", "node1"] and 0 < ready["ready"] < 1 << 16


def test_a_meeting_lets_go_when_all_have_come(hub_of):
    first, second, third = members(hub_of(3), 3)
    for name in ("one", "two"):
        third.send(at=name)
        first.send(at=name)
        assert heard(first, 0.1) == heard(third, 0.01) == {}
        second.send(at=name)
        assert [heard(line) for line in (first, second, third)] == [{"go": name}] * 3


def test_whoever_comes_to_another_meeting_is_named(hub_of):
    first, second = members(hub_of(2))
    first.send(at="sum of float64[3]")
    second.send(at="sum of float64[4]")
    assert "process 1 of 2 (host node1) does not do" in heard(first)["differ"]
    assert "process 1 of 2" in heard(second)["differ"]


def test_flags_that_differ_are_told(hub_of):
    first, second = members(hub_of(2))
    first.send(at="flags: none")
    second.send(at="flags: seeds=2")
    assert heard(first)["differ"].endswith("(flags: seeds=2; of process 0, flags: none)")
    assert heard(second)


def test_whoever_is_gone_is_named_at_once_and_once(hub_of):
    first, second, third = members(hub_of(3), 3)
    second.close()
    begun = time.monotonic()
    lost = {"lost": "process 1 of 3 (host node1) is gone"}
    assert heard(first) == heard(third) == lost
    assert time.monotonic() - begun < 0.5
    third.close()
    assert heard(first, 0.7) == {}


def test_whoever_is_gone_before_all_have_come_is_named_at_once(hub_of):
    hub = hub_of(3)
    first, second = member(hub, 0, 3), member(hub, 1, 3)
    assert heard(first, 0.1) == {}
    second.close()
    assert heard(first, 0.5) == {"lost": "process 1 of 3 (host node1) is gone"}


def test_whoever_was_gone_before_is_named_to_those_who_come(hub_of):
    hub = hub_of(2)
    member(hub, 1, 2).close()
    while not hub._lost:
        time.sleep(0.01)
    assert heard(member(hub, 0, 2)) == {"lost": "process 1 of 2 (host node1) is gone"}


def test_the_hub_sees_that_all_have_left(hub_of):
    hub = hub_of(2)
    first, second = members(hub)
    first.close()
    begun = time.monotonic()
    hub.wait_until_all_left(0.3)
    assert time.monotonic() - begun >= 0.3
    second.close()
    hub.wait_until_all_left(30)
    assert time.monotonic() - begun < 5


def test_whoever_is_silent_is_lost(monkeypatch, hub_of):
    monkeypatch.setattr(meetings, "SILENT_S", 0.8)
    monkeypatch.setattr(meetings, "BEAT_S", 0.2)
    first, _silent = members(hub_of(2))
    told = {}
    while not told:
        assert first.alive()
        told = heard(first, 0.1)
    assert told == {"lost": "process 1 of 2 (host node1) has not answered for 1 s"}


def test_a_silent_hub_is_noticed(monkeypatch):
    monkeypatch.setattr(meetings, "SILENT_S", 0.2)
    line = Line(socket.socketpair()[0])
    assert line.alive()
    time.sleep(0.25)
    assert not line.alive()


def test_whoever_does_not_come_is_named(monkeypatch, hub_of):
    monkeypatch.setattr(meetings, "JOIN_S", 0.2)
    line = member(hub_of(2), 0, 2)
    assert heard(line) == {"lost": "process 1 of 2 has not come within 0 s"}


@pytest.mark.parametrize(
    ("index", "count", "why"),
    [(0, 2, "there is a process 0 of 2 (host node0) already"), (1, 3, "told of 3 processes")],
)
def test_whoever_does_not_fit_is_refused(index, count, why, hub_of):
    hub = hub_of(2)
    first = member(hub, 0, 2)
    time.sleep(0.05)
    other, second = member(hub, index, count), member(hub, 1, 2)
    assert why in heard(other)["refused"]
    assert "ready" in heard(first) and "ready" in heard(second)


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"hello": 5}\n', b'{"at": "x"}\n',
     b"[" * 99_999 + b"\n", b'{"hello": {"index": 7, "count": 2, "host": "x"}}\n'],
)  # fmt: skip
def test_strangers_change_nothing(sent, hub_of):
    hub = hub_of(2)
    own, its = socket.socketpair()
    hub.adopt(its)
    own.sendall(sent)
    first, second = members(hub)
    own.close()
    first.send(at="one")
    second.send(at="one")
    assert heard(first) == heard(second) == {"go": "one"}


def test_messages_come_in_pieces():
    own, other = socket.socketpair()
    line = Line(own)
    other.sendall(b'{"at": "on')
    assert line.read() == []
    other.sendall(b'e"}\n{}\n{"a')
    assert line.read() == [{"at": "one"}, {}]
    other.close()
    assert line.read() is None


def test_a_fault_of_the_hub_reaches_all(monkeypatch, hub_of):
    hub = hub_of(2)
    first, second = members(hub)
    faults = []
    monkeypatch.setattr(threading, "excepthook", faults.append)
    monkeypatch.setattr(hub, "_meet", lambda: 1 / 0)
    first.send(at="one")
    assert heard(first) is heard(second) is None
    while not faults:
        time.sleep(0.01)
    assert faults[0].exc_type is ZeroDivisionError


def test_the_hub_may_start_later_and_its_port_is_its_own(monkeypatch, hub_of):
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    monkeypatch.setattr(meetings, "JOIN_S", 0.3)
    with pytest.raises(OSError):
        meetings.connect("localhost", port)
    monkeypatch.setattr(meetings, "JOIN_S", 30)
    threading.Timer(0.3, hub_of, (1, port)).start()
    line = meetings.connect("localhost", port)
    line.send(hello={"index": 0, "count": 1, "host": "here"})
    assert heard(line)["hosts"] == ["here"]
    with pytest.raises(OSError):
        Hub("localhost", port, 1)
