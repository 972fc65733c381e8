"""Pickles are read without running anything; what is not known is refused."""

import time
from collections import OrderedDict

import make_checkpoints as make
import numpy as np
import pytest

from ecjax.errors import InputError
from ecjax.torch_pickle import MAX_AXES, Storage, Tensor, interpret, sizes, tensor


def read(value):
    return interpret("file.pt", make.pickled(value)[0])


def test_plain_values_are_read():
    value = {"a": [1, -2, 2.5, None, True, False, "é"], 3: (), "t": (1, (2,)), "d": {"x": {}}}
    assert read(value) == value


def test_protocols_2_to_5_are_read():
    import pickle  # writes only

    value = OrderedDict(a=[1, 2**70, "text"], b=(1, 2, 3, 4), c={"x": 1.5}, d=[b"bytes"])
    for protocol in (2, 3, 4, 5):
        value["d"] = [b"bytes"] if protocol > 2 else []
        assert interpret("file.pt", pickle.dumps(value, protocol)) == value


def test_tensors_are_described():
    base = np.arange(12, dtype=np.float32)
    found = read({"whole": base.reshape(3, 4), "part": make.View(base, 5, (2, 2), (1, 2))})
    assert found["whole"] == Tensor(Storage("<f4", "0", 12), 0, (3, 4), (4, 1))
    assert found["part"] == Tensor(Storage("<f4", "1", 12), 5, (2, 2), (1, 2))
    parameter = make.called("torch._utils _rebuild_parameter", (base, True, {}), make._Pickle())
    assert read([make.Code(parameter)])[0].shape == (12,)


@pytest.mark.parametrize(
    "name", ["argparse Namespace", "lightning.fabric.utilities.data AttributeDict"]
)
def test_attributes_are_entries(name):
    assert read({"hyper_parameters": make.record(name, {"l": 4})}) == {"hyper_parameters": {"l": 4}}


def test_attributes_of_a_dict_are_left_alone():
    """A state dict carries versions as an attribute, which are no tensors."""
    ordered = make.called("collections OrderedDict", ())
    state = make.Code(ordered + make._Pickle()({"_metadata": {"": 1}}) + b"b")
    assert read([state]) == [{}]
    pairs = make.called("collections OrderedDict", ([("a", 1), ("b", 2)],))
    assert read([pairs]) == [{"a": 1, "b": 2}]


def test_what_is_of_no_use_is_a_name():
    path = make.called("pathlib PosixPath", ("/", "etc"))
    assert read({"dirpath": path, "kind": make.named("torch float32")}) == {
        "dirpath": "pathlib PosixPath",
        "kind": "torch float32",
    }


@pytest.mark.parametrize(
    "name",
    [
        *("os system", "posix system", "builtins exec", "builtins eval", "builtins getattr"),
        *("subprocess Popen", "torch load", "operator attrgetter", "torch._utils _rebuild"),
    ],
)
@pytest.mark.parametrize("where", ["call", "name", "build", "stack"])
def test_other_names_are_refused(name, where):
    module, _, attribute = name.partition(" ")
    stacked = make._Pickle()(module) + make._Pickle()(attribute) + b"\x93" + b")R"
    code = {
        "call": make.called(name, ("echo run",)),
        "name": make.named(name),
        "build": make.record(name, {"a": 1}),
        "stack": make.Code(stacked),
    }[where]
    with pytest.raises(InputError) as caught:
        read({"state_dict": {}, "hyper_parameters": {"a": [code]}})
    wanted = name.replace(" ", ".")
    assert str(caught.value).startswith(f'file.pt: wants "{wanted}", which no checkpoint of')
    assert "was not run" in str(caught.value)


@pytest.mark.parametrize(
    "code",
    [
        *(
            b".",
            b"",
            b"\x80\x02",
            b"N",
            b"NN.",
            b"0.",
            b"h\x05.",
            b"(.",
            b"a.",
            b"]a.",
            b"t.",
            b"u.",
        ),
        *(b"}K\x01.", b"}(K\x01u.", b"](K\x01u.", b"}(K\x01e.", b"}})s.", b"R.", b"NNR.", b")b."),
        *(b"\x93.", b"K\x01K\x02\x93.", b"NQ.", b")Q.", b"\xff.", b"X\xff\xff"),
        *(
            b"X\xff\xff\xff\xff.",
            b"X\x01\x00\x00\x00\xff.",
            b"cos\n.",
            b"I12\n.",
            b"}K\x012.",
            b"\x82\x01.",
        ),
        b"G\x00.",
        make.named("collections OrderedDict") + b"(K\x01tR.",
        make.named("collections OrderedDict") + b"](K\x01etR.",
        make.named("torch._utils _rebuild_tensor_v2") + b")R.",
        make.named("torch._utils _rebuild_parameter") + b")R.",
        make.named("argparse Namespace") + b")\x81Nb.",
    ],
)
def test_damage_is_refused(code):
    with pytest.raises(InputError, match=r"^file\.pt: data\.pkl is damaged .*; get the file again"):
        interpret("file.pt", code)


def test_what_could_take_for_ever_does_not():
    """A tuple of itself 60 times over hashes 2^60 times as a key, and shows as long."""
    doubled = b")" + b"".join(b"q\x01h\x01\x86" for _ in range(60))
    start = time.perf_counter()
    for code in (b"}" + doubled + b"Ns.", b"}(" + doubled + b"Nu.", doubled + b"Q."):
        with pytest.raises(InputError):
            interpret("file.pt", code)
    interpret("file.pt", doubled + b".")
    deep = b"]" * 100_000 + b"a" * 99_999 + b"."
    interpret("file.pt", deep)
    interpret("file.pt", b"Nr\xff\xff\xff\xff.")  # would make a list of 2^32 in C
    assert time.perf_counter() - start < 2


STORAGE = Storage("<f4", "0", 12)


def test_a_tensor_lies_within_its_storage():
    assert tensor(STORAGE, 0, (3, 4), (4, 1)).shape == (3, 4)
    assert tensor(STORAGE, 11, (1,), (5,)).offset == 11
    assert tensor(STORAGE, 12, (0, 7), (7, 1)).shape == (0, 7)
    assert tensor(STORAGE, 3, (), ()).shape == ()


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        *((1, (3, 4), (4, 1)), (0, (13,), (1,)), (0, (2,), (12,)), (12, (), ()), (-1, (2,), (1,))),
        *((0, (2,), (-1,)), (0, (-2,), (1,)), (0, (13,), (0,)), (0, (2**60,), (0,)), (0, (2,), ())),
        *((0, (True,), (1,)), (0, (2.0,), (1,)), (0, [2], (1,)), (0, (1,) * 9, (1,) * 9)),
        *((2**300, (), ()), (0, (2,), (2**300,)), ("0", (2,), (1,))),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(offset, shape, strides):
    with pytest.raises(ValueError):
        tensor(STORAGE, offset, shape, strides)


def test_sizes_are_few_and_sane():
    assert sizes((1, 2)) == (1, 2)
    for values in ((1,) * (MAX_AXES + 1), (-1,), (1 << 50,), [1], (None,)):
        with pytest.raises(ValueError):
            sizes(values)
