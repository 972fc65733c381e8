"""Ends a run at ^C or SIGTERM: the first lets a short call end, the second ends the process.

A compiled call cannot be stopped, and what it computes is kept only when it is done. So the first
signal waits for the call, if that takes under GRACE_S; where nothing is being computed, it ends the
run at once. The second ends the process whatever it does.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

GRACE_S = 20.0
EXIT_CODE = 75
SIGNALS = (signal.SIGINT, signal.SIGTERM)
FINISHING = (
    f"interrupted; finishing what is being computed, at most {GRACE_S:.0f} s; once more ends"
)


class Stop:
    """What signals have asked for.

    Attributes:
      asked: when the first came, by `time.monotonic`; None until then.
    """

    def __init__(self):
        self.asked: float | None = None
        self._computing = self._raised = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hears the signals meanwhile; in the main thread."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        wakeup = signal.set_wakeup_fd(writer)
        threading.Thread(target=_end_at_second, args=(reader,), daemon=True).start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(writer)

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Meanwhile a signal interrupts nothing: the caller asks `over`."""
        if self._raised:  # in a finaliser, say, whose errors Python prints and swallows
            raise KeyboardInterrupt
        self._computing = True
        try:
            yield
        finally:
            self._computing = False

    def over(self, left: float | None) -> bool:
        """Whether a call is not to be waited for any longer.

        Args:
          left: seconds that it is estimated to take still; None: not known.
        """
        if self.asked is None:
            return False
        waited = time.monotonic() - self.asked
        return waited > GRACE_S or (left is not None and waited + left > GRACE_S)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked = time.monotonic()
        if not self._computing:
            self._raised = True
            if not _is_collecting(frame):
                raise KeyboardInterrupt


def _is_collecting(frame: FrameType | None) -> bool:
    """Whether a frame is within a callback of the garbage collector, as JAX has one."""
    callbacks = {getattr(callback, "__code__", None) for callback in gc.callbacks}
    while frame is not None and frame.f_code not in callbacks:
        frame = frame.f_back
    return frame is not None


def _end_at_second(reader: int) -> None:
    """Ends the process at the second signal, also where the main thread hears none for long."""
    heard = 0
    while heard < 2:
        found = os.read(reader, 1)
        if not found:  # nobody listens any more
            os.close(reader)
            return
        heard += found[0] in SIGNALS
    print("ecjax: interrupted twice; ended at once", file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)
