"""What ^C and SIGTERM do while a command imports its packages, which takes seconds.

Python would show where in which package it was, or take the package for a broken one. Nothing has
been begun then, so the process just ends. `ecjax/__init__.py` comes before all other imports of
`ecjax …` and of `python -m ecjax …`, and so begins with this; where a program imports ecjax, its
signals are its own.
"""

from __future__ import annotations

import os
import signal
import sys

from ecjax.stop import EXIT_CODE, SIGNALS

_before: dict[int, object] = {}  # handlers, while others are in their place


def listen() -> None:
    """Has the signals end the process, if it is a command of ecjax."""
    if not _is_command():
        return
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell has it in the background
            _before[number] = signal.signal(number, _end)


def leave() -> None:
    """Has the signals do again what they did before."""
    while _before:
        signal.signal(*_before.popitem())


def _is_command() -> bool:
    script = sys.argv[0] if sys.argv else ""
    if script == "-m":  # as long as Python imports the package of what is to be run
        return sys.orig_argv[-len(sys.argv)] == "ecjax"
    return os.path.basename(script) in ("ecjax", "ecjax.exe")


def _end(number: int, frame: object) -> None:
    print("ecjax: interrupted; nothing was begun", file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)
