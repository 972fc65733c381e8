"""NumPy arrays: headers are matched, not evaluated, and sizes must agree."""

import io
import pickle

import numpy as np
import pyarrow as pa
import pytest

from ecjax.containers import reading
from ecjax.errors import InputError
from ecjax.limits import Budget
from ecjax.npy_files import open_vectors, read_ids

VALUES = np.arange(12.0).reshape(4, 3)


def saved(array, **how) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array, **how)
    return sink.getvalue()


def with_header(text: str) -> bytes:
    header = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + VALUES.tobytes()


def vectors(content, ids=range(4), budget=0):
    ids = pa.chunked_array([pa.array(ids)])
    with reading("here", "npy"), open_vectors(content, "here", "id", ids, Budget(budget)) as table:
        found = table.read(["id", "embedding"])
    return np.stack(found["embedding"].to_numpy())


def ids(content):
    with reading("here", "npy"):
        return read_ids(content, "here", Budget())


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", "i1", "u1", "<i8", ">i2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_numbers(dtype, order):
    found = vectors(saved(np.asarray(VALUES, dtype, order=order)))
    assert (found == VALUES).all() and found.dtype == np.dtype(dtype).newbyteorder("=")


def test_headers_as_others_write_them():
    for text in (
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4, 3), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4,3)}",
        "{'descr':'<f8','fortran_order':False,'shape':(4, 3,),}",
    ):
        assert (vectors(with_header(text)) == VALUES).all()


@pytest.mark.parametrize("array", [np.arange(4), np.arange(4, dtype=">u2")])
def test_ids_that_are_numbers(array):
    assert ids(saved(array)).to_pylist() == [0, 1, 2, 3]


@pytest.mark.parametrize("array", [np.array(["é", "bc"]), np.array(["é".encode(), b"bc"])])
def test_ids_that_are_text(array):
    assert ids(saved(array)).to_pylist() == ["é", "bc"]


class Harm:
    def __reduce__(self):
        return pytest.fail, ("a pickle ran",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(np.array([Harm()], object)), "no plain array"),
        (with_header("{'descr': '|O', 'fortran_order': False, 'shape': (4, 3), }"), "no plain"),
        (with_header("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (4,)}"), "plain"),
        (with_header("{'descr': __import__('os'), 'fortran_order': False, 'shape': ()}"), "plain"),
        (with_header("(" * 100), "no plain array"),
        (with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (5, 3), }"), "truncated"),
        (with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (4, 2), }"), "32 bytes af"),
        (
            with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999, 3)}"),
            "trunc",
        ),
        (with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-4, -3)}"), "no plain"),
        (with_header("{'descr': '<z9', 'fortran_order': False, 'shape': (4, 3)}"), "of type <z9"),
        (saved(VALUES)[:-1], "truncated"),
        (saved(VALUES)[:9], "damaged"),
        (saved(VALUES)[:50], "a header of 118 bytes, cut short"),
        (b"\x93NUMPY\x09\x00" + saved(VALUES)[8:], "version 9"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "a header of 4,294,967,295 bytes"),
        (saved(VALUES.astype(complex)), "floats or integers"),
        (saved(VALUES.ravel()), "two dimensions"),
        (saved(VALUES[:, :0]), "two dimensions"),
        (saved(VALUES[:3]), "3 rows, but 4 ids"),
        (pickle.dumps(Harm()), "damaged"),
    ],
)
def test_what_is_no_array_of_vectors(content, words):
    with pytest.raises(InputError, match=words) as caught:
        vectors(content)
    assert str(caught.value).startswith("here: ")


def test_a_budget():
    with pytest.raises(InputError, match="the table takes 224 bytes"):
        vectors(saved(VALUES), budget=200)


@pytest.mark.parametrize("array", [VALUES, np.arange(3.0), np.array([True])])
def test_what_are_no_ids(array):
    with pytest.raises(InputError, match="whole numbers or text; store them so"):
        ids(saved(array))
