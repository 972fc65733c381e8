"""Options and fixtures of all tests. `python tests/conftest.py FILE` runs one file, for Bazel."""

import os
import signal
import sys
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also run the tests marked long")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; runs with --long only")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--long"):
        return
    skip = pytest.mark.skip(reason="takes minutes; run pytest --long")
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def paper_data() -> Path:
    """Folder of the tables released with "Better Together"; skips the test where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "better_together"
    folder = Path(os.environ.get("ECJAX_PAPER_DATA") or beside)
    if not (folder / "data").is_dir():
        pytest.skip(
            "needs the paper's tables: ../shared/data/better_together is absent, or "
            "ECJAX_PAPER_DATA does not name a folder that holds data/"
        )
    return folder


@pytest.fixture
def interruptible():
    """Children hear SIGINT even where the shell has this process ignore it, as for `pytest &`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    sys.exit(pytest.main(sys.argv[1:]))
