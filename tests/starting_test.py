"""Signals during imports: one line and the exit code of an interrupt, in a command only."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ecjax import starting, stop

ROOT = Path(__file__).resolve().parents[1]
SLOW = "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"
SCRIPT = "from ecjax.cli import run\nrun()\n"  # as pip writes it
LIBRARY = "import ecjax\n"


@pytest.fixture
def ended(tmp_path, interruptible):
    """Exit code and errors of a process that hears a signal while it imports a slow NumPy."""
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "numpy.py").write_text(SLOW)
    (tmp_path / "ecjax").write_text(SCRIPT)
    (tmp_path / "other.py").write_text(LIBRARY)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "slow"), str(ROOT)])}

    def end(number, *command):
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        errors = process.communicate(timeout=30)[1]
        return process.returncode, errors

    return end


@pytest.mark.parametrize("number", stop.SIGNALS)
@pytest.mark.parametrize("command", [("-m", "ecjax"), ("ecjax",), ("-m", "ecjax", "-m", "other")])
def test_a_command_ends_with_one_line(ended, number, command):
    expected = stop.EXIT_CODE, "ecjax: interrupted; nothing was begun\n"
    assert ended(number, *command, "tasks") == expected


@pytest.mark.parametrize("command", [("-c", LIBRARY), ("other.py", "ecjax"), ("-m", "other")])
def test_a_program_that_imports_ecjax_has_its_own_signals(ended, command):
    code, errors = ended(signal.SIGINT, *command)
    assert code == -signal.SIGINT and errors.endswith("KeyboardInterrupt\n")


def test_signals_that_are_ignored_stay_so_and_handlers_come_back(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/ecjax", "tasks"])
    before = [signal.getsignal(number) for number in stop.SIGNALS]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        starting.listen()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is starting._end
    finally:
        starting.leave()
        signal.signal(signal.SIGINT, before[0])
    assert [signal.getsignal(number) for number in stop.SIGNALS] == before
