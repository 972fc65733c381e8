"""The number of BLAS threads is one inside and what it was afterwards."""

import threading

import pytest

from ecjax import blas


class Library:
    """A stand-in for OpenBLAS."""

    def __init__(self, threads):
        self.threads = threads

    def get(self):
        return self.threads

    def put(self, threads):
        self.threads = threads


@pytest.fixture
def library(monkeypatch):
    library = Library(6)
    monkeypatch.setattr(blas, "_functions", lambda: (library.get, library.put))
    return library


def test_one_thread_inside_and_as_many_as_before_afterwards(library):
    with blas.one_thread():
        assert library.threads == 1
        with blas.one_thread():
            assert library.threads == 1
        assert library.threads == 1
    assert library.threads == 6


def test_an_error_restores_the_number_too(library):
    with pytest.raises(ValueError, match="inside"), blas.one_thread():
        raise ValueError("inside")
    assert library.threads == 6


def test_calls_that_overlap_restore_it_once(library):
    inside, leave = threading.Event(), threading.Event()

    def other():
        with blas.one_thread():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with blas.one_thread():
        thread.start()
        inside.wait()
    assert library.threads == 1  # the other one still runs
    leave.set()
    thread.join()
    assert library.threads == 6


def test_nothing_happens_without_the_library(monkeypatch):
    monkeypatch.setattr(blas, "_functions", lambda: (None, None))
    with blas.one_thread():
        pass


def test_the_library_that_scipy_brings_obeys():
    get, _ = blas._functions()
    if get is None:
        return
    before = get()
    with blas.one_thread():
        assert get() == 1
    assert get() == before
