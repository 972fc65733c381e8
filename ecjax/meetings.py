"""Where the processes of a run meet, and how one learns that another is gone.

The first process runs the `Hub`. Every process, the first included, keeps one connection to it for
as long as it lives, and the closing of that tells of a death at once: the kernel closes what a
process had open, however that ended. A host that is gone closes nothing; the kernels of the others
give it up after `HOST_S`. A process that is stopped as a whole is taken for lost after `SILENT_S`.
One whose work alone hangs still answers, and is waited for.

Messages are JSON objects, one a line. To the hub: `hello`, who it is; `at`, the name of a meeting
that it has come to. From it: `refused`, why; `ready`, all are there; `go`, all have come to the
meeting; `differ` and `lost`, what went wrong. `{}` says that its sender lives. There is no
password, as JAX's own service has none: both are for networks where only friends are.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import threading
import time

JOIN_S = 300.0  # within which all processes must have started
HOST_S = 20  # after which a host that does not answer is given up
SILENT_S = 300.0  # after which a process is: a long call may keep Python's lock for minutes
BEAT_S = 10.0
TICK_S = 0.5
LONGEST = 1 << 20  # bytes of a message
END = "end"  # the name of the last meeting
FLAGS = "flags:"  # the name of one begins with it that says them
LOOPBACK = "localhost", "127.0.0.1"


class Line:
    """A connection that carries messages both ways.

    Args:
        connection: a connected socket; the line's from now on.
    """

    def __init__(self, connection: socket.socket):
        self._socket = connection
        self._socket.settimeout(TICK_S)
        self._rest = b""
        self._sending = threading.Lock()
        self._sent = self._heard = time.monotonic()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, **message) -> None:
        """Sends a message. It is lost where nobody is at the other end, which `read` will tell."""
        with self._sending, contextlib.suppress(OSError):
            self._sent = time.monotonic()
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def read(self) -> list[dict] | None:
        """Returns the messages that come within `TICK_S`; None if the other end is gone."""
        try:
            chunk = self._socket.recv(1 << 16)
        except TimeoutError:
            return []
        except OSError:
            return None
        self._heard = time.monotonic()
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if not chunk or len(self._rest) > LONGEST:
            return None
        try:
            return [json.loads(line) for line in lines]
        except (ValueError, RecursionError):  # no process of ours
            return None

    def alive(self) -> bool:
        """Says from time to time that this end lives; False if the other has long not done so."""
        if time.monotonic() - self._sent > BEAT_S:
            self.send()
        return time.monotonic() - self._heard < SILENT_S

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that reads
        self._socket.close()


def connect(host: str, port: int) -> Line:
    """Returns a line to the hub, which need not have started yet.

    Raises:
        OSError: it is not there within `JOIN_S`.
    """
    deadline = time.monotonic() + JOIN_S
    while True:
        try:
            connection = socket.create_connection((host, port), timeout=10)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            _notice_lost_hosts(connection)
            return Line(connection)


class Hub:
    """A thread of the first process through which all meet.

    Args:
        host, port: where the others look for it.
        count: how many processes there are.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, host: str, port: int, count: int):
        self.count = count
        self._thread = threading.Thread(target=self._run, name="ecjax-hub", daemon=True)
        self._local = host in LOOPBACK
        self._listener = _listen(port, self._local)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._members: dict[Line, int] = {}
        self._hosts = [""] * count
        self._at: dict[int, str] = {}
        self._deadline = time.monotonic() + JOIN_S
        self._lost = ""  # how the first loss came about
        self._over = False

    def adopt(self, connection: socket.socket) -> None:
        """Reads what comes over a connection from now on."""
        self._selector.register(Line(connection), selectors.EVENT_READ)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Returns when all have been told of the last meeting."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._over:
                for key, _ in self._selector.select(TICK_S):
                    if key.fileobj is self._listener:
                        self._accept()
                    else:
                        self._read(key.fileobj)
                self._look_round()
        finally:  # a fault of the hub is a loss to all
            self._listener.close()
            for line in self._members:
                line.close()

    def wait_until_all_left(self, seconds: float) -> None:
        """Returns when no process is connected any more, at the latest after so many seconds."""
        deadline = time.monotonic() + seconds
        while self._members and time.monotonic() < deadline:
            time.sleep(TICK_S / 10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it has gone again
            connection, _ = self._listener.accept()
            _notice_lost_hosts(connection)
            self.adopt(connection)

    def _read(self, line: Line) -> None:
        messages = line.read()
        for message in messages or ():
            match message:
                case {"hello": {"index": int(index), "count": int(count), "host": str(host)}}:
                    self._greet(line, index, count, host)
                case {"at": str(name)} if line in self._members:
                    self._at[self._members[line]] = name
                    self._meet()
        if messages is None:
            self._drop(line, "is gone")

    def _greet(self, line: Line, index: int, count: int, host: str) -> None:
        """Takes a process in. Once all have come, tells them of a port for JAX's own service."""
        if count != self.count:
            line.send(refused=f"it was told of {count} processes, process 0 of {self.count}")
        elif index in self._members.values():
            line.send(refused=f"there is a {self._title(index)} already")
        elif 0 <= index < count:
            self._members[line] = index
            self._hosts[index] = host
            if self._lost:  # process 0 itself may be the last to come
                line.send(lost=self._lost)
            elif len(self._members) == count:
                self._tell(ready=_free_port(self._local), hosts=self._hosts)

    def _meet(self) -> None:
        """Lets all go on once all have come, if they have come to the same meeting."""
        if len(self._at) < self.count:
            return
        name = self._at[0]
        other = next((index for index in self._at if self._at[index] != name), None)
        others, self._at = self._at.get(other, ""), {}
        if other is None:
            self._tell(go=name)
            self._over = name == END
        else:
            both = others.startswith(FLAGS) and name.startswith(FLAGS)
            how = f" ({others}; of process 0, {name})" if both else ""
            self._tell(differ=f"{self._title(other)} does not do what process 0 does{how}")

    def _drop(self, line: Line, how: str) -> None:
        self._selector.unregister(line)
        line.close()
        if line in self._members:
            index = self._members.pop(line)
            self._lose(f"{self._title(index)} {how}")

    def _lose(self, how: str) -> None:
        """Tells all of the first loss, from which others may follow."""
        if not self._lost:
            self._lost = how
            self._selector.unregister(self._listener)
            self._listener.close()  # whoever comes now waits for the next run
            self._tell(lost=how)

    def _look_round(self) -> None:
        for line in list(self._members):
            if not line.alive():
                self._drop(line, f"has not answered for {SILENT_S:.0f} s")
        if "" in self._hosts and time.monotonic() > self._deadline:
            absent = self._hosts.index("")
            self._lose(f"process {absent} of {self.count} has not come within {JOIN_S:.0f} s")

    def _tell(self, **message) -> None:
        for line in self._members:
            line.send(**message)

    def _title(self, index: int) -> str:
        return f"process {index} of {self.count} (host {self._hosts[index]})"


def _notice_lost_hosts(connection: socket.socket) -> None:
    """Has the kernel close a connection whose other host has not answered for `HOST_S`."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", HOST_S // 2),
        ("TCP_KEEPINTVL", HOST_S // 4),
        ("TCP_KEEPCNT", 2),
        ("TCP_USER_TIMEOUT", 1000 * HOST_S),  # while something sent waits for its receipt
    ):
        if hasattr(socket, name):  # not every system has all four
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _listen(port: int, local: bool) -> socket.socket:
    """A listening socket; on a loopback address only where the run is on one machine."""
    if local:
        return socket.create_server(("127.0.0.1", port))
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _free_port(local: bool) -> int:
    with _listen(0, local) as found:
        return found.getsockname()[1]
