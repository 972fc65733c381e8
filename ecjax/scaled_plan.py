"""What a planned run would take on other machines, from rates that were measured there."""

from __future__ import annotations

from typing import NamedTuple

from ecjax.errors import UsageError, counted
from ecjax.memory import GIB


class Needs(NamedTuple):
    """What a run takes, whatever the machine.

    Attributes:
      shared: floating-point operations that devices share.
      repeated: operations that each device does.
      shared_bytes: that are read by one device or the other.
      repeated_bytes: that each device reads.
      most: devices that can share at most.
    """

    shared: float
    repeated: float
    shared_bytes: float
    repeated_bytes: float
    most: float


class Machines(NamedTuple):
    """Devices with a host each.

    Attributes:
      devices: how many.
      gflops: 10⁹ operations a second of each, in work like a plan's.
      gib_per_s: GiB a second that each reads.
    """

    devices: int
    gflops: float
    gib_per_s: float


class Scaled(NamedTuple):
    """Seconds on some machines.

    Attributes:
      reading, arithmetic: by turns; while one batch is at work the next is read.
      alone: of arithmetic that each device repeats, after that.
    """

    reading: float
    arithmetic: float
    alone: float

    @property
    def seconds(self) -> float:
        return max(self.reading, self.arithmetic) + self.alone

    @property
    def bound(self) -> str:
        """What takes longest."""
        parts = {"reading": self.reading, "arithmetic": self.arithmetic,
                 "arithmetic that is not shared": self.alone}  # fmt: skip
        return max(parts, key=parts.get)


def check(machines: Machines) -> None:
    """Raises a UsageError unless there is something of each."""
    for name, value in machines._asdict().items():
        if value is None:
            raise UsageError(f"{name}: wanted too, as it was measured there")
        if not value > 0:
            raise UsageError(f"{name}={value:g}: give a number above 0")


def on(needs: Needs, machines: Machines) -> Scaled:
    """Seconds of a run on some machines."""
    working = min(machines.devices, needs.most)
    rate, reading = machines.gflops * 1e9, machines.gib_per_s * GIB
    return Scaled(
        (needs.shared_bytes / machines.devices + needs.repeated_bytes) / reading,
        needs.shared / (rate * working),
        needs.repeated / rate,
    )


def in_words(needs: Needs, machines: Machines) -> str:
    """What a run takes on other machines, in words."""
    found = on(needs, machines)
    devices = counted(machines.devices, "device")
    parts = [f"reading {duration(found.reading)}", f"arithmetic {duration(found.arithmetic)}"]
    if found.alone:
        parts.append(f"arithmetic that each repeats {duration(found.alone)}")
    return (
        f"on {devices} that each do {machines.gflops:,.4g} GFLOP/s and read "
        f"{machines.gib_per_s:,.3g} GiB/s: {about(found.seconds)}, bound by {found.bound} "
        f"({', '.join(parts)})"
    )


def about(seconds: float) -> str:
    """As `duration`, said to be an estimate."""
    text = duration(seconds)
    return text if text.startswith("<") else f"about {text}"


def duration(seconds: float) -> str:
    """So many seconds, minutes or hours, to about two digits."""
    if seconds < 1:
        return "< 1 s"
    units = (("s", 1), ("min", 60), ("h", 3600))
    unit, length = next(u for u in units if seconds < 120 * u[1] or u[0] == "h")
    amount = seconds / length
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:,.0f} {unit}"
