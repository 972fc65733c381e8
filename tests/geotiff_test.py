import struct
import zlib

import numpy as np
import pyarrow as pa
import pytest
from make_geotiffs import geotiff as made

from ecjax import geotiff
from ecjax.geotiff import FormatError

WEST, SOUTH, EPSG = 500_000.0, 5_734_400.0, 32610
PIXELS = np.random.default_rng(0).integers(-128, 128, (5, 64, 80)).astype(np.int8)


def reading(content):
    return lambda start, stop: content[start:stop]


def layout_of(content):
    return geotiff.read_layout(reading(content), len(content))


def block_of(content, layout, down, across):
    """(bands, rows, columns) of a block, all of it."""
    at = np.indices(layout.block).reshape(2, -1)
    planes = [content[start:stop] for start, stop in geotiff.ranges(layout, down, across)]
    values = np.concatenate([geotiff.values(layout, plane, *at) for plane in planes], axis=1)
    return values.T.reshape(-1, *layout.block)


FORMS = [
    {"interleave": interleave, "predictor": predictor, "big": big}
    for interleave in ("band", "tile", "pixel")
    for predictor in (1, 2)
    for big in (True, False)
]
FORMS += [{"compression": kind} for kind in ("none", "deflate")]
FORMS += [{"bottom_up": False}, {"overview": False}]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_pixel_is_read(form):
    content = made(PIXELS, WEST, SOUTH, EPSG, **form)
    layout = layout_of(content)
    assert (layout.west, layout.south) == (WEST, SOUTH)
    assert (layout.east, layout.north) == (WEST + 800, SOUTH + 640)
    assert (layout.bands, layout.epsg, layout.bottom_up) == (5, EPSG, form.get("bottom_up", True))
    padded = np.pad(PIXELS, [(0, 0), (0, 0), (0, 16)], constant_values=-128)
    padded = padded if layout.bottom_up else padded[:, ::-1]
    for down, across in np.ndindex(2, 3):
        rows, columns = (slice(32 * at, 32 * at + 32) for at in (down, across))
        found = block_of(content, layout, down, across)
        np.testing.assert_array_equal(found, padded[:, rows, columns])


def test_what_is_not_in_the_head_is_read_where_it_is():
    content = made(np.zeros((64, 160, 160), np.int8), WEST, SOUTH, EPSG)
    asked = []
    layout = geotiff.read_layout(lambda a, b: asked.append((a, b)) or content[a:b], len(content))
    assert asked[0] == (0, geotiff.HEAD) and len(asked) <= 3
    assert sum(stop - start for start, stop in asked) < 40_000
    assert layout.offsets.shape == (64, 5, 5)


def test_a_block_that_is_not_there_is_masked():
    content = made(PIXELS, WEST, SOUTH, EPSG, overview=False)
    layout = layout_of(content)
    layout.counts[:, 1, 1] = 0
    assert (block_of(content, layout, 1, 1) == -128).all()


BLOCKS = 5 * 2 * 3


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"t339": (3, [1] * 5)}, "pixels are not int8"),
        ({"t258": (3, [16] * 5)}, "pixels are not int8"),
        ({"t258": (3, [8] * 4)}, "tag 258 has 4 values"),
        ({"t257": None}, "tag 257 has 0 values"),
        ({"t323": None}, "tag 323 has 0 values"),
        ({"t259": (3, [5])}, "compression 5 with predictor 1"),
        ({"t317": (3, [3])}, "with predictor 3"),
        ({"t322": (3, [0])}, "blocks of 32 x 0 pixels"),
        ({"t322": (4, [1 << 20])}, "blocks of 32 x 1,048,576 pixels"),
        ({"t257": (4, [1 << 31])}, "more than 1,048,576 blocks"),
        ({"t256": (4, [16])}, "tag 324 has"),
        ({"t34264": (12, [10.0, 1.0, 0, 0, 1.0, 10.0] + [0.0] * 10)}, "not squares"),
        ({"t34264": (12, [np.nan] * 16)}, "not squares"),
        ({"t34264": None}, "tag 33550 has 0 values"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_what_is_no_such_geotiff_is_refused(tags, told):
    with pytest.raises(FormatError, match=told):
        layout_of(made(PIXELS, WEST, SOUTH, EPSG, overview=False, **tags))


def changed(content, tag, kind, many, new):
    """The content with another count or place in a directory's entry."""
    old = struct.pack("<HHQ", tag, kind, many)
    assert content.count(old) == 1
    return content.replace(old, new)


def test_lies_about_sizes_are_found_before_anything_is_made():
    content = made(PIXELS, WEST, SOUTH, EPSG, overview=False)
    many = struct.pack("<HHQ", 324, 16, 1 << 40)
    with pytest.raises(FormatError, match="tag 324 has 1,099,511,627,776 values"):
        layout_of(changed(content, 324, 16, BLOCKS, many))
    with pytest.raises(FormatError, match="ends before its tags"):
        layout_of(content[:300])
    with pytest.raises(FormatError, match="blocks lie beyond its end"):
        layout_of(content[:-100])
    with pytest.raises(FormatError, match="not a little-endian TIFF"):
        layout_of(b"")
    with pytest.raises(FormatError, match="has 65,535 tags"):
        layout_of(content[:16] + struct.pack("<Q", 65_535) + content[24:])
    at = content.index(struct.pack("<HHQ", 325, 4, BLOCKS)) + 12
    (place,) = struct.unpack_from("<Q", content, at)
    large = content[:place] + struct.pack("<I", 3_000) + content[place + 4 :]
    with pytest.raises(FormatError, match="larger than their pixels"):
        layout_of(large)


@pytest.mark.parametrize("kind", ["zstd", "deflate", "none"])
@pytest.mark.parametrize("size", [1023, 1025, 1 << 22])
def test_a_block_expands_to_its_pixels_and_no_further(kind, size):
    layout = layout_of(made(PIXELS, WEST, SOUTH, EPSG, compression=kind))
    press = {
        "zstd": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
        "deflate": zlib.compress,
        "none": bytes,
    }[kind]
    at = np.zeros(1, int), np.zeros(1, int)
    assert geotiff.values(layout, press(bytes(1024)), *at) == 0
    with pytest.raises(FormatError, match="block"):
        geotiff.values(layout, press(bytes(size)), *at)
    if kind != "none":
        with pytest.raises(FormatError, match="damaged"):
            geotiff.values(layout, b"\xff" + press(bytes(1024)), *at)


def test_damaged_heads_are_refused_or_read_and_nothing_else():
    content = made(PIXELS, WEST, SOUTH, EPSG)
    head = content.index(struct.pack("<I", 0), 24) + 3000
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(content)
        for place in rng.integers(0, head, rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        try:
            layout = layout_of(bytes(damaged))
            for start, stop in geotiff.ranges(layout, 0, 0):
                geotiff.values(layout, content[start:stop], np.zeros(1, int), np.zeros(1, int))
        except FormatError:
            refused += 1
    assert 20 < refused < 400
