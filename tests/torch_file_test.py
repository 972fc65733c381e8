"""Files of `torch.save` and safetensors files: their numbers, and what of them is refused."""

import hashlib
import io
import json
import struct
import warnings
import zipfile

import make_checkpoints as make
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecjax import torch_file
from ecjax.errors import InputError
from ecjax.torch_file import open_checkpoint
from ecjax.torch_pickle import Tensor

BASE = np.arange(24, dtype=np.float32)
KINDS = ["<f4", "<f8", "<f2", "<i8", "<i4"]


def arrays(path):
    """All tensors of a file, read; those of a dict within are named behind it."""
    with open_checkpoint(path) as checkpoint:
        values = checkpoint.values if isinstance(checkpoint.values, dict) else {}
        held = [(str(name), value) for name, value in values.items()]
        for name, value in [entry for entry in held if isinstance(entry[1], dict)]:
            held += [(f"{name}.{inner}", tensor) for inner, tensor in value.items()]
        found = [(name, value) for name, value in held if isinstance(value, Tensor)]
        return {name: checkpoint.array(value) for name, value in found}


def refused(path, *told):
    with pytest.raises(InputError) as caught:
        arrays(path)
    assert str(caught.value).startswith(f"{path}: ")
    for text in told:
        assert text in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_read(tmp_path, kind):
    values = np.arange(12).reshape(3, 4).astype(kind)
    views = {
        "whole": values,
        "turned": values.T,
        "part": make.View(values, 5, (2, 2), (4, 1)),
        "one": make.View(values, 7, (), ()),
        "none": make.View(values, 12, (0, 4), (4, 1)),
    }
    path = make.save(tmp_path / "a.pt", views)
    found = arrays(path)
    np.testing.assert_array_equal(found["whole"], values)
    np.testing.assert_array_equal(found["turned"], values.T)
    np.testing.assert_array_equal(found["part"], values.ravel()[[[5, 6], [9, 10]]])
    assert found["one"] == values.ravel()[7] and found["none"].shape == (0, 4)
    assert all(array.dtype == kind and array.flags.c_contiguous for array in found.values())
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    values = np.float32([1, -2.5, 3.140625, 1e30])
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    found = arrays(make.save(tmp_path / "a.pt", {"x": make.Raw("BFloat16", upper)}))["x"]
    np.testing.assert_allclose(found, values, rtol=2**-7)
    assert found.dtype == np.float32 and found[2] == values[2]


def test_safetensors_are_read(tmp_path):
    tensors = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in KINDS}
    found = arrays(make.save_safetensors(tmp_path / "a.safetensors", tensors))
    assert list(found) == KINDS
    for kind, values in tensors.items():
        np.testing.assert_array_equal(found[kind], values)


def test_files_of_torch_are_read(tmp_path):
    torch = pytest.importorskip("torch")
    import argparse

    values = torch.arange(12.0).reshape(3, 4)
    layer = torch.nn.Linear(4, 2)
    saved = {
        "x": values.t(),
        "part": values[1:, 2],
        "half": values.half(),
        "brain": values.bfloat16(),
        "bool": values > 3,
        "parameter": layer.weight,
        "state_dict": layer.state_dict(),
        "hyper_parameters": argparse.Namespace(l=4, kind=torch.float32, size=values.shape),
    }
    for protocol in (2, 4):
        path = tmp_path / f"{protocol}.pt"
        torch.save(saved, path, pickle_protocol=protocol)
        found = arrays(path)
        for name in ("x", "part", "half", "brain", "bool", "parameter"):
            expected = saved[name].detach().float().numpy()
            np.testing.assert_array_equal(found[name].astype(np.float32), expected)
        np.testing.assert_array_equal(found["state_dict.bias"], layer.bias.detach().numpy())
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.values["hyper_parameters"]["l"] == 4
    torch.save({"x": values}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    refused(tmp_path / "old.pt", "PyTorch before 1.6", "weights_only=True")


def test_nothing_runs(tmp_path):
    mark = tmp_path / "it_ran"
    run = make.called("os system", (f"touch {mark}",))
    execute = make.called("builtins exec", (f"open({str(mark)!r}, 'w')",))
    nested = {"state_dict": {"x": BASE}, "hyper_parameters": {"le_type": [{"a": execute}]}}
    files = {
        "run": make.save(tmp_path / "run.pt", run),
        "nested": make.save(tmp_path / "nested.pt", nested),
    }
    pickle = make.pickled(run)[0]
    for name, start in (("legacy", torch_file.LEGACY), ("bare", b""), ("tensors", b"\0" * 8)):
        files[name] = tmp_path / name
        files[name].write_bytes(start + pickle)
    refused(files["run"], '"os.system"', "it was not run")
    refused(files["nested"], '"builtins.exec"', "nothing of this file is used")
    refused(files["legacy"], "before 1.6")
    refused(files["bare"], "neither a file of torch.save nor a safetensors file")
    refused(files["tensors"], "neither")
    assert not mark.exists()


def rewritten(path, change, method=zipfile.ZIP_STORED):
    """The container with its entries ({name: bytes}) changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda e: e.pop("archive/data/0"), 'lacks "archive/data/0"'),
        (lambda e: e.update({"archive/data/0": b"1234"}), "has 4 bytes, not 24 numbers of 4"),
        (lambda e: e.pop("archive/data.pkl"), "holds 0 of data.pkl"),
        (lambda e: e.update({"b/data.pkl": b"N."}), "holds 2 of data.pkl"),
        (lambda e: e.update({"archive/byteorder": b"big"}), "big-endian"),
        (lambda e: e.update({"archive/data.pkl": b"N" * (2**21 + 1)}), "data.pkl has 2,097,153"),
        (lambda e: e.update({"x" * 60_000 + str(i): b"" for i in range(71)}), "list of entries"),
    ],
)
def test_entries_that_are_not_right_are_refused(tmp_path, change, told):
    refused(rewritten(make.save(tmp_path / "a.pt", {"x": BASE}), change), told)


def test_what_expands_is_refused(tmp_path):
    path = make.save(tmp_path / "a.pt", {"x": BASE})
    bomb = {"archive/data/0": bytes(10**7)}
    refused(rewritten(path, lambda e: e.update(bomb), zipfile.ZIP_DEFLATED), "compressed")
    path = make.save(tmp_path / "b.pt", {"x": BASE})
    data = path.read_bytes()
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(b"archive/data/0"))
    claim = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(data[: at + 20] + claim + data[at + 28 :])
    refused(path, "claim 2,14")


def test_a_changed_byte_is_found(tmp_path):
    path = make.save(tmp_path / "a.pt", {"x": BASE})
    data = bytearray(path.read_bytes())
    data[data.index(BASE.tobytes()) + 9] ^= 1
    path.write_bytes(data)
    refused(path, "is damaged", "CRC-32")


def test_files_that_are_none_are_refused(tmp_path):
    refused(tmp_path / "absent.pt", "cannot be read (No such file")
    refused(tmp_path, "cannot be read (Is a directory")
    (tmp_path / "empty.pt").write_bytes(b"")
    refused(tmp_path / "empty.pt", "neither")
    with pytest.raises(InputError) as caught:
        arrays("https://me:secret@host/a.pt?token=secret")
    assert str(caught.value).startswith("https://host/a.pt: weights are read from a file")


def test_a_large_file_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_file, "MAX_BYTES", 100)
    refused(make.save(tmp_path / "a.pt", {"x": BASE}), "100 are the most that is read")


def safetensors_file(path, header, data=bytes(8)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "change",
    [
        *({"dtype": "F33"}, {"dtype": [1]}, {"shape": [3]}, {"shape": ["a", 10**9]}, {"shape": 2}),
        *({"shape": [10**400]}, {"shape": [2**47] * 9}, {"shape": [-2]}, {"data_offsets": [0, 16]}),
        *({"data_offsets": [8, 0]}, {"data_offsets": [0.0, 8.0]}, {"data_offsets": [0]}),
        *({"data_offsets": [0, 7]}, {"data_offsets": None}, {"shape": [2.0]}, {"shape": "ab"}),
    ],
)
def test_headers_that_are_not_right_are_refused(tmp_path, change):
    path = tmp_path / "a.safetensors"
    assert arrays(safetensors_file(path, {"x": GOOD}))["x"].shape == (2,)
    refused(safetensors_file(path, {"x": GOOD | change}), "get the file again")


@pytest.mark.parametrize("header", [b"{", b'{"x": 1}', b"{\xff}", b'{"a":' * 100_000])
def test_headers_that_are_none_are_refused(tmp_path, header):
    refused(safetensors_file(tmp_path / "a.safetensors", header), "get the file again")


def seeds():
    """A checkpoint as published, one of safetensors, and the bytes of a pickle."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        value = make.satclip_checkpoint(degrees=2, h=2, p=2)
        whole = make.save(Path(folder) / "a", value).read_bytes()
        safe = make.save_safetensors(Path(folder) / "b", make.geoclip_state(f=2, h=2, p=2))
        return whole, safe.read_bytes(), make.pickled(value)


WHOLE, SAFE, (PICKLE, NUMBERS) = seeds()


def changes(size):
    """Bytes to change, pieces to leave out and pieces to repeat."""
    place, length = st.integers(0, size), st.integers(0, 40)
    return st.lists(
        st.tuples(st.just("byte"), place, st.integers(0, 255))
        | st.tuples(st.sampled_from(["cut", "twice", "end"]), place, length),
        min_size=1,
        max_size=4,
    )


def changed(data, steps):
    for step, place, value in steps:
        data = {
            "byte": lambda d, p, v: d[:p] + bytes([v]) + d[p + 1 :],
            "cut": lambda d, p, v: d[:p] + d[p + v :],
            "twice": lambda d, p, v: d[: p + v] + d[p:],
            "end": lambda d, p, v: d[:p],
        }[step](data, place, value)
    return data


def reads_or_refuses(path, data):
    """Whether the bytes are read; any error but InputError is an error of the test."""
    path.write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of zipfile, about names that are there twice
            arrays(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ") and len(str(error)) < 1000
        return False
    return True


FUZZ = settings(max_examples=100, deadline=5000, derandomize=True)


@FUZZ
@given(changes(len(WHOLE)))
@example([("end", 0, 0)])
def test_changed_containers_are_read_or_refused(tmp_path_factory, steps):
    reads_or_refuses(tmp_path_factory.getbasetemp() / "fuzz.pt", changed(WHOLE, steps))


@FUZZ
@given(changes(len(PICKLE)))
def test_changed_pickles_are_read_or_refused(tmp_path_factory, steps):
    """In a sound container, so that no checksum keeps them from being read."""
    held = io.BytesIO()
    make.container(held, changed(PICKLE, steps), NUMBERS)
    reads_or_refuses(tmp_path_factory.getbasetemp() / "fuzz.pt", held.getvalue())


@FUZZ
@given(changes(len(SAFE)))
def test_changed_safetensors_are_read_or_refused(tmp_path_factory, steps):
    reads_or_refuses(tmp_path_factory.getbasetemp() / "fuzz.pt", changed(SAFE, steps))
