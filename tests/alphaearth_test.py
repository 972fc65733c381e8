from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from make_geotiffs import BANDS, Square, geotiff, index, pixel_codes, place_of
from tile_server import Fault, TileServer

from ecjax import addresses, alphaearth
from ecjax.alphaearth import AlphaEarth, dequantised
from ecjax.errors import UsageError
from ecjax.http_range import Patience, Web
from ecjax.models import Places, Unavailable

SIDE, BLOCK = 64, 32
SQUARES = [
    Square("31N", 2021, 50_000, 500_000, SIDE),
    Square("31N", 2021, 50_000 + SIDE, 500_000, SIDE),
    Square("1S", 2021, 20_000, 900_000, SIDE),
    Square("31N", 2020, 50_000, 500_000, SIDE),
]


def made(squares, **form):
    """The files of a source."""
    content = {square.key: square.content(block=BLOCK, **form) for square in squares}
    return {**content, "aef_index.parquet": index(squares)}


@pytest.fixture(scope="module")
def files():
    return made(SQUARES, interleave="tile")  # a request for each block, not for each band of it


@pytest.fixture
def server(files):
    with TileServer(dict(files)) as started:
        yield started


def quick(server, **options):
    """A model that waits for nothing."""
    return AlphaEarth(server.url, web=Web(Patience(silence=5), sleep=lambda _: None), **options)


def drawn(count=30, seed=0, squares=SQUARES):
    """Places at pixels' centres, and their pixels' codes (n, 64)."""
    rng = np.random.default_rng(seed)
    lat, lon, year, codes = [], [], [], []
    for square in rng.permutation(np.arange(count) % len(squares)):
        square = squares[square]
        east, north = rng.integers(0, SIDE, 2) + (square.column, square.row)
        at = place_of(square.zone, np.array(east + 0.5), np.array(north + 0.5))
        lat, lon, year = [*lat, at[0]], [*lon, at[1]], [*year, square.year]
        codes.append(pixel_codes(square.zone, square.year, east, north))
    return Places(np.array(lat), np.array(lon), np.array(year)), np.array(codes)


def test_codes_become_the_published_numbers():
    codes = np.arange(-128, 128).astype(np.int8)
    found = dequantised(codes)
    assert found.dtype == np.float32 and np.isnan(found[0])
    q = codes[1:].astype(np.float32)
    expected = (q / np.float32(127.5)) ** 2 * np.sign(q)
    np.testing.assert_array_equal(found[1:], expected)
    exact = (codes[1:].astype(float) / 127.5) ** 2 * np.sign(codes[1:])
    np.testing.assert_allclose(found[1:], exact, rtol=2e-7)


def test_places_get_the_pixels_that_hold_them(server):
    places, codes = drawn(60)
    vectors = quick(server).read(places)
    masked = (codes == -128).all(axis=1)
    assert 0 < masked.sum() < 15
    np.testing.assert_array_equal(vectors.values, dequantised(codes))
    np.testing.assert_array_equal(vectors.reason, np.where(masked, "masked pixel", ""))
    assert {square.key for square in SQUARES} == set(vectors.tile)
    for tile, checksum in zip(vectors.tile, vectors.checksum, strict=True):
        assert checksum == "etag:" + server.etag(tile).strip('"')


@pytest.mark.parametrize(
    ("form", "requests"),
    [
        ({"interleave": "band"}, BANDS),  # as published
        ({"interleave": "pixel"}, 1),
        ({"bottom_up": False, "interleave": "tile"}, 1),
        ({"predictor": 2, "interleave": "tile"}, 1),
    ],
    ids=str,
)
def test_files_of_all_layouts_are_read(form, requests):
    square = SQUARES[2]
    with TileServer(made([square], **form)) as server:
        places, codes = drawn(12, squares=[square])
        np.testing.assert_array_equal(quick(server).read(places).values, dequantised(codes))
        asked = [request for request in server.requests if request.path == square.key]
        assert len(asked) == 2 + 4 * requests  # two for the head; four blocks


def test_a_pixel_holds_its_southern_and_western_edge(server):
    square, edge = SQUARES[0], 1e-7  # of a pixel: a micrometre
    corners = [(0.0, 0.0), (1 - edge, 0.0), (0.0, 1 - edge), (1 - edge, 1 - edge)]
    east, north = np.array(corners).T + edge / 2 + [[square.column + 5], [square.row + 7]]
    places = Places(*place_of(square.zone, east, north), np.full(4, 2021))
    expected = pixel_codes(square.zone, 2021, square.column + 5, square.row + 7)
    found = quick(server).read(places).values
    np.testing.assert_array_equal(found, np.tile(dequantised(expected), (4, 1)))


def test_a_block_is_read_once_and_little_else(server):
    model = quick(server)
    places, _ = drawn(60)
    model.estimate(places)
    before = len(server.requests)
    vectors = model.read(places)
    blocks = set()
    for row in range(len(places.lat)):
        square = next(square for square in SQUARES if square.key == vectors.tile[row])
        found = model._find(places.at(np.array([row])))
        at = found.y[0] // 10 - square.row, found.x[0] // 10 - square.column
        blocks.add((square.key, at[0] // BLOCK, at[1] // BLOCK))
    of_blocks = [request for request in server.requests[before:] if request.start]
    assert len(of_blocks) == len(blocks) == 16
    heads = [request for request in server.requests[before:] if not request.start]
    assert len(heads) == 2 * len(SQUARES)  # the size, and the head
    nbytes = [sum(request.nbytes for request in some) for some in (heads, of_blocks)]
    assert sum(nbytes) <= 1.5 * nbytes[1]
    model.read(places.at(np.arange(3)))
    assert all(request.start for request in server.requests[before + len(of_blocks) + len(heads) :])


def test_parts_are_the_same_whoever_asks(server):
    places, codes = drawn(40)
    pole = (89, 0, 2021)
    places = Places(*(np.append(*pair) for pair in zip(places, pole, strict=True)))
    model = quick(server)
    parts = model.parts(places)
    assert len(parts) == 1 + len(SQUARES) and parts[0].tolist() == [40]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(41))
    model.read(places)
    for one, other in zip(parts, quick(server).parts(places), strict=True):
        np.testing.assert_array_equal(one, other)
    for part in parts[1:]:
        assert len(set(model.read(places.at(part)).tile)) == 1
    assert model.parts(places.at(np.arange(0))) == []


def test_a_part_of_published_files_is_a_block():
    square = Square("31N", 2021, 50_000, 500_000, 8192)
    with TileServer({"aef_index.parquet": index([square])}) as server:
        east, north = np.array([0.5, 1023.5, 1024.5, 8191.5]), np.array([0.5, 1023.5, 0.5, 8191.5])
        at = place_of(square.zone, square.column + east, square.row + north)
        places = Places(*at, np.full(4, 2021))
        model = quick(server)
        assert [part.tolist() for part in model.parts(places)] == [[0, 1], [2], [3]]
        estimate = model.estimate(places)
        assert estimate.requests == 3 * 64 + 4
        assert estimate.nbytes == 3 * 64 * alphaearth.BLOCK_BYTES + alphaearth.HEADER_BYTES
        assert estimate.seconds is None and estimate.cost.startswith("as http://127.0.0.1:")


def test_a_file_that_is_not_there_is_a_reason(server):
    del server.files[SQUARES[2].key]
    places, codes = drawn()
    vectors = quick(server).read(places)
    gone = np.array(["file that is not there" in reason for reason in vectors.reason])
    assert 0 < gone.sum() < 30 and np.isnan(vectors.values[gone]).all()
    np.testing.assert_array_equal(vectors.values[~gone], dequantised(codes[~gone]))


@pytest.mark.parametrize("fault", [Fault(status=429), Fault(status=500), Fault(cut=0.4)], ids=str)
def test_failures_that_pass_change_nothing(fault, server):
    server.misbehave(fault, share=0.1, times=None, after=10)
    places, codes = drawn()
    np.testing.assert_array_equal(quick(server).read(places).values, dequantised(codes))


@pytest.mark.parametrize("after", range(4))
def test_an_etag_that_is_wrong_once_changes_nothing(after, server):
    server.misbehave(Fault(etag='"x"'), path=".tiff", after=after)
    places, codes = drawn(4)
    np.testing.assert_array_equal(quick(server).read(places).values, dequantised(codes))


def test_a_file_that_changes_is_begun_anew(server):
    model, square = quick(server), SQUARES[0]
    places, codes = drawn(12, squares=[square])
    model.read(places.at(np.arange(3)))
    changed = pixel_codes(square.zone, 1999, *np.meshgrid(range(SIDE), range(SIDE)))
    west, south = square.column * 10.0, square.row * 10.0
    server.files[square.key] = geotiff(changed, west, south, square.epsg, block=BLOCK)
    vectors = model.read(places)
    assert set(vectors.checksum) == {"etag:" + server.etag(square.key).strip('"')}
    assert not np.array_equal(vectors.values, dequantised(codes), equal_nan=True)


def test_failures_that_last_name_the_file(server):
    server.misbehave(Fault(status=503), path="1S", times=None, after=3)
    with pytest.raises(Unavailable, match=f"alphaearth: {server.url}/{SQUARES[2].key}: answered"):
        quick(server).read(drawn()[0])


def test_a_file_that_is_another_than_the_index_says_is_refused(server):
    server.files[SQUARES[0].key] = server.files[SQUARES[1].key]
    with pytest.raises(Unavailable, match="it lies at .500640.0, 5000000.0.*EPSG:32631, the index"):
        quick(server).read(drawn()[0])
    server.files[SQUARES[0].key] = b"<html>" * 1000
    with pytest.raises(Unavailable, match=f"{SQUARES[0].key}: it is not a little-endian TIFF"):
        quick(server).read(drawn()[0])


def test_without_etags_the_bytes_are_summed(server):
    server.misbehave(Fault(headers={"ETag": ""}), times=None)
    places, codes = drawn(8)
    vectors = quick(server).read(places)
    np.testing.assert_array_equal(vectors.values, dequantised(codes))
    assert all(text.startswith("sha256:") and len(text) == 71 for text in vectors.checksum)


def test_threads_read_the_same(server):
    places, codes = drawn(80)
    model = quick(server)
    parts = [part for whole in model.parts(places) for part in np.array_split(whole, 4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: model.read(places.at(part)).values, parts))
    order = np.argsort(np.concatenate(parts))
    np.testing.assert_array_equal(np.concatenate(found)[order], dequantised(codes))
    heads = [r for r in server.requests if r.start == 0 and r.path.endswith(".tiff")]
    assert len(heads) == 2 * len(SQUARES)


def test_sources_are_named_or_addresses():
    assert AlphaEarth().source == "source.coop"
    for url in addresses.ALPHAEARTH.values():
        assert url.startswith("https://") and not url.endswith("/")
    with pytest.raises(UsageError, match='AlphaEarth is at "source.coop", "google", or'):
        AlphaEarth("aws")
    assert "Google pays" in alphaearth.PAYS["google"]
