"""Checkpoints as PyTorch writes them, made without PyTorch; and malicious ones.

Pickles are written instruction by instruction, in protocol 2 as `torch.save` does.
"""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

CLASSES = {"<f4": "Float", "<f8": "Double", "<f2": "Half", "<i8": "Long", "<i4": "Int"}
SAFE = {"<f4": "F32", "<f8": "F64", "<f2": "F16", "<i8": "I64", "<i4": "I32"}


class Code(bytes):
    """Instructions that stand in a pickle as they are."""


class View(NamedTuple):
    """A tensor that is a part of another array: shape and strides in numbers."""

    base: np.ndarray
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Raw(NamedTuple):
    """Numbers of a class that NumPy lacks."""

    kind: str
    numbers: np.ndarray


class _Pickle:
    """Instructions for a value, and the storages that it needs."""

    def __init__(self):
        self.storages: list[np.ndarray] = []

    def __call__(self, value) -> bytes:
        if isinstance(value, Code):
            return bytes(value)
        if value is None or isinstance(value, bool):
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        if isinstance(value, int):
            return b"J" + struct.pack("<i", value)
        if isinstance(value, float):
            return b"G" + struct.pack(">d", value)
        if isinstance(value, str):
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        if isinstance(value, np.ndarray):
            strides = tuple(stride // value.itemsize for stride in value.strides)
            return self(View(value, 0, value.shape, strides))
        if isinstance(value, Raw):
            return self.tensor(value.kind, value.numbers, 0, value.numbers.shape, (1,))
        if isinstance(value, View):
            kind = CLASSES[value.base.dtype.str]
            return self.tensor(kind, value.base, value.offset, value.shape, value.strides)
        items = b"".join(self(item) for item in value)
        if isinstance(value, dict):
            items = b"".join(self(key) + self(item) for key, item in value.items())
        before, after = {dict: (b"}(", b"u"), list: (b"](", b"e"), tuple: (b"(", b"t")}[type(value)]
        return before + items + after

    def tensor(self, kind: str, base: np.ndarray, offset: int, shape, strides) -> bytes:
        known = [place for place, storage in enumerate(self.storages) if storage is base]
        if not known:
            self.storages.append(base)
        key = str(known[0] if known else len(self.storages) - 1)
        storage = ("storage", named(f"torch {kind}Storage"), key, "cuda:0", base.size)
        persistent = Code(self(storage) + b"Q")
        empty = called("collections OrderedDict", ())
        arguments = (persistent, offset, tuple(shape), tuple(strides), False, empty)
        return called("torch._utils _rebuild_tensor_v2", arguments, self)


def named(name: str) -> Code:
    """The thing that "module name" names."""
    module, _, name = name.partition(" ")
    return Code(b"c" + module.encode() + b"\n" + name.encode() + b"\n")


def called(name: str, arguments: tuple, pickle: _Pickle | None = None) -> Code:
    """What calling it gives."""
    return Code(named(name) + (pickle or _Pickle())(arguments) + b"R")


def record(name: str, attributes: dict) -> Code:
    """An object of a class with attributes, such as a Namespace."""
    return Code(named(name) + b")\x81" + _Pickle()(attributes) + b"b")


def pickled(value) -> tuple[bytes, list[np.ndarray]]:
    """A whole pickle and its storages."""
    pickle = _Pickle()
    return b"\x80\x02" + pickle(value) + b".", pickle.storages


def container(path: Path, pickle: bytes, storages: list[np.ndarray]) -> Path:
    """The zip container around a pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/byteorder", "little")
        for place, numbers in enumerate(storages):
            archive.writestr(f"archive/data/{place}", numbers.tobytes("A"))
        archive.writestr("archive/version", "3\n")
    return path


def save(path: Path, value) -> Path:
    """What `torch.save` would write."""
    return container(path, *pickled(value))


def save_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    """What safetensors would write."""
    header: dict = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, values in tensors.items():
        kind, stop = SAFE[values.dtype.str], start + values.nbytes
        header[name] = {"dtype": kind, "shape": values.shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header).encode()
    numbers = b"".join(values.tobytes() for values in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers)
    return path


def geoclip_state(seed: int = 0, scales=(1.0, 4.0), f: int = 6, h: int = 16, p: int = 5) -> dict:
    """Random weights of a small GeoCLIP."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32) / np.float32(shape[-1] ** 0.5)  # noqa: E731
    state = {}
    for place, scale in enumerate(scales):
        name = f"LocEnc{place}"
        state[f"{name}.capsule.0.b"] = draw(f, 2) * np.float32(scale)
        for layer, inputs in ((1, 2 * f), (3, h), (5, h)):
            state[f"{name}.capsule.{layer}.weight"] = draw(h, inputs)
            state[f"{name}.capsule.{layer}.bias"] = draw(h)
        state[f"{name}.head.0.weight"], state[f"{name}.head.0.bias"] = draw(p, h), draw(p)
    return state


def satclip_layers(seed: int, degrees: int, h: int, p: int, hidden: int = 2) -> list:
    """Random (weight, bias) of each layer, float64, drawn as SIREN's are."""
    rng = np.random.default_rng(seed)
    layers, inputs = [], degrees**2
    for place in range(hidden + 1):
        outputs = h if place < hidden else p
        bound = (6 / inputs) ** 0.5 if place else 1 / inputs
        weight = rng.uniform(-bound, bound, (outputs, inputs))
        layers.append((weight, rng.uniform(-bound, bound, outputs)))
        inputs = outputs
    return layers


def satclip_checkpoint(
    seed: int = 0, degrees: int = 4, h: int = 16, p: int = 8, **settings
) -> dict:
    """A training run's checkpoint in the published layout, of a small SatCLIP."""
    state = {"model.visual.conv1.weight": np.ones((2, 3), np.float32)}
    state["model.logit_scale"] = np.float64([2.5])
    layers = satclip_layers(seed, degrees, h, p)
    names = [f"layers.{place}" for place in range(len(layers) - 1)] + ["last_layer"]
    for owner in ("model.nnet", "model.location.nnet"):
        for name, (weight, bias) in zip(names, layers, strict=True):
            state |= {f"{owner}.{name}.weight": weight, f"{owner}.{name}.bias": bias}
    known = {"le_type": "sphericalharmonics", "pe_type": "siren", "embed_dim": p, "capacity": h}
    known |= {"legendre_polys": degrees, "harmonics_calculation": "analytic"}
    known |= {"num_hidden_layers": 2, "max_radius": 0.01, "vision_layers": "moco_resnet18"}
    callback = {"best_model_score": np.float32([1.5]), "dirpath": "logs", "best_k_models": {}}
    return {
        "epoch": 499,
        "pytorch-lightning_version": "2.0.0",
        "state_dict": state,
        "callbacks": {"ModelCheckpoint": callback},
        "optimizer_states": [{"state": {0: {"step": 1.0}}, "param_groups": [{"lr": 1e-4}]}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": known | settings,
        "datamodule_hyper_parameters": {"data_dir": called("pathlib PosixPath", ("/", "data"))},
    }
