"""Which precision a device computes in, from facts that need no device at hand."""

from __future__ import annotations

import dataclasses
import re

# Names, within JAX's device_kind, of GPUs whose float64 runs at half the rate of float32 or better:
# NVIDIA's data-centre cards of Pascal, Volta, Ampere, Hopper and Blackwell, AMD's of Vega 20 and
# CDNA. Not among them, because their float64 is a small fraction: all other GeForce and RTX cards,
# T4, L4, L40, A10, A40, H20, B300.
FULL_RATE = re.compile(
    r"\b(P100|GP100|V100S?|GV100|TITAN V|A100X?|A800|A30X?|H100|H200|H800|GH200|B100|B200|GB200"
    r"|MI50|MI60|MI100|MI2\d\dX?|MI300[AX]?|MI325X|MI35[05]X)\b",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class DeviceFacts:
    """What a plan asks of a `jax.Device`, for one that is not there.

    Attributes:
      platform: "cpu", "gpu" or "tpu".
      device_kind: its model, as JAX names it.
      bytes_limit: its memory.
    """

    platform: str
    device_kind: str
    bytes_limit: int

    def memory_stats(self) -> dict[str, int]:
        return {"bytes_limit": self.bytes_limit}


def resolve(asked: str, platform: str, device_kind: str) -> str:
    """ "float64" or "float32" for what was asked; "auto" takes what the device is made for.

    That is float64 on a CPU and on the GPUs of FULL_RATE, and float32 elsewhere, also on devices
    that nobody knows: it is right there too, and there float64 may be slow.
    """
    if asked != "auto":
        return asked
    full = platform == "cpu" or (platform == "gpu" and FULL_RATE.search(device_kind))
    return "float64" if full else "float32"
