"""Valid files that models' vectors come from, and how ecjax reads them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import make_checkpoints
import make_geotiffs
import mutate_parquet
import mutate_tiff
import mutate_zip
import mutations
import numpy as np
import pyarrow.parquet as pq
from fuzz_judge import Container
from numcodecs.blosc import compress

from ecjax import satclip, shards, web
from ecjax.alphaearth import AlphaEarth
from ecjax.alphaearth_index import COLUMNS
from ecjax.alphaearth_index import NAME as INDEX
from ecjax.models import Places, Unavailable
from ecjax.torch_file import open_checkpoint

SIDE = 4  # pixels of a tile
TILES = [make_geotiffs.Square("31N", 2021, 50_000 + j * SIDE, 500_000, SIDE) for j in (0, 1)]
FORMS = {
    "geotiff": {},
    "geotiff-deflate": {
        "big": False,
        "compression": "deflate",
        "interleave": "pixel",
        "predictor": 2,
    },
}
# Of an array of one time and 8 x 8 pixels, in one shard of 2 x 2 chunks.
SHARD = "0"
METADATA = {
    "shape": [1, 8, 8],
    "data_type": "float32",
    "fill_value": 0.0,
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 8, 8]}},
    "chunk_key_encoding": {"name": "default"},
    "codecs": [
        {
            "name": "sharding_indexed",
            "configuration": {
                "chunk_shape": [1, 4, 4],
                "index_codecs": [{"name": "bytes"}, {"name": "crc32c"}],
                "codecs": [{"name": "bytes"}, {"name": "blosc"}],
            },
        }
    ],
}


def from_folder(folder: Path) -> Callable[..., web.Answer | None]:
    """In the place of `web.get`: a folder, in which all files lie side by side."""

    def get(url: str, span: tuple[int, int] | None = None, **_) -> web.Answer | None:
        path = folder / url.rpartition("/")[2]
        if not path.is_file():
            return None
        content = path.read_bytes()
        return web.Answer(content[slice(*span)] if span else content, "", len(content))

    return get


def read_alphaearth(folder: Path) -> list[np.ndarray]:
    """The vectors of some places, as AlphaEarth's client has them."""
    east, north = np.array([0, 1, SIDE - 1, SIDE - 1]), np.array([0, 2, 1, SIDE - 1])
    tile = TILES[0]
    lat, lon = make_geotiffs.place_of(tile.zone, tile.column + east + 0.5, tile.row + north + 0.5)
    model = AlphaEarth("https://tiles.example")
    with mock.patch.object(web, "get", from_folder(folder)):
        vectors = model.read(Places(lat, lon, np.full(len(lat), tile.year)))
    assert vectors.values.shape == (len(lat), model.dims) and vectors.values.dtype == np.float32
    given = np.isfinite(vectors.values).all(axis=1)
    assert (given == (vectors.reason == "")).all()
    assert np.abs(vectors.values[given]).max(initial=0) <= 1.01
    return [np.nan_to_num(vectors.values, nan=9), vectors.reason.astype(str)]


def read_shard(folder: Path) -> list[np.ndarray]:
    """Some pixels of a shard of a Zarr store, as Tessera's client reads them."""
    with mock.patch.object(web, "get", from_folder(folder)):
        array = shards.Array("https://tiles.example", METADATA, "made")
        found = array.pixels(0, np.array([0, 3, 7]), np.array([1, 6, 7]))
    assert found.values.shape == (3,) and found.values.dtype == np.float32
    return [np.nan_to_num(found.values, nan=9), found.checksums.astype(str)]


def read_weights(name: str) -> Callable[[Path], list[np.ndarray]]:
    """The weights in a folder's checkpoint, as SatCLIP's loader has them before they go to JAX."""

    def read(folder: Path) -> list[np.ndarray]:
        with open_checkpoint(folder / name) as checkpoint:
            layers, degrees, calculation = satclip._weights(checkpoint)
        arrays = [array for layer in layers for array in layer]
        assert all(array.dtype == np.float64 for array in arrays)
        return [*arrays, np.array(degrees), np.array(calculation)]

    return read


def _index(tiles: list[make_geotiffs.Square]) -> bytes:
    """Of the columns that are needed alone."""
    whole = pq.read_table(io.BytesIO(make_geotiffs.index(tiles)), columns=list(COLUMNS))
    out = io.BytesIO()
    pq.write_table(whole.replace_schema_metadata(None), out)
    return out.getvalue()


def _geotiffs() -> list[Container]:
    index = _index(TILES)
    name = TILES[0].key.rpartition("/")[2]
    made = []
    for form, how in FORMS.items():
        contents = tuple(tile.content(block=SIDE, overview=False, **how) for tile in TILES)
        covered = mutate_tiff.covered if how.get("compression") == "deflate" else lambda _: []
        kinds = mutations.ANY | mutate_tiff.MUTATIONS
        made.append(
            Container(
                form, name, contents, read_alphaearth, kinds, {INDEX: index}, covered,
                refusals=(Unavailable,), names=(name,),
            )
        )  # fmt: skip
    contents = index, _index(TILES[1:])
    beside = {name: TILES[0].content(block=SIDE)}
    kinds = mutations.ANY | mutate_parquet.MUTATIONS
    del kinds["page header"]  # nobody compares them with the footer: each would be a request
    return [
        *made,
        Container(
            "alphaearth-index", INDEX, contents, read_alphaearth, kinds, beside,
            refusals=(Unavailable,), names=(INDEX, name),
        ),
    ]  # fmt: skip


def _shards() -> list[Container]:
    def content(seed: int) -> bytes:
        values = np.random.default_rng(seed).normal(size=(2, 2, 4, 4)).astype("<f4")
        chunks = [compress(chunk.tobytes(), b"zstd", 1) for chunk in values.reshape(4, 16)]
        lengths = [len(chunk) for chunk in chunks]
        places = np.stack([np.cumsum(lengths) - lengths, lengths], axis=1)
        index = places.astype("<u8").tobytes()
        return b"".join(chunks) + index + shards.crc32c(index).to_bytes(4, "little")

    return [
        Container(
            "shard", SHARD, (content(1), content(2)), read_shard, mutations.ANY,
            covered=lambda shard: [(len(shard) - 68, len(shard))],
            refusals=(Unavailable,), names=("c/0/0/0",),
        )
    ]  # fmt: skip


def _checkpoints() -> list[Container]:
    values = [make_checkpoints.satclip_checkpoint(seed, degrees=2, h=4, p=3) for seed in (1, 2)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zips = [make_checkpoints.save(folder / "a", value).read_bytes() for value in values]
        safe = [
            make_checkpoints.save_safetensors(folder / "a", value["state_dict"]).read_bytes()
            for value in values
        ]
    torch = mutations.ANY | mutate_zip.MUTATIONS
    names = mutations.ANY | {"words": mutations.text(('"F64"', "9" * 20, "-1", "[[", "null"))}
    return [
        Container(
            "checkpoint", "a.ckpt", tuple(zips), read_weights("a.ckpt"), torch,
            covered=mutate_zip.covered, mending=mutate_zip.MENDING, names=("a.ckpt",),
        ),
        Container(
            "safetensors", "a.safetensors", tuple(safe), read_weights("a.safetensors"), names,
            names=("a.safetensors",),
        ),
    ]  # fmt: skip


def containers() -> list[Container]:
    """All of them."""
    return [*_geotiffs(), *_shards(), *_checkpoints()]
