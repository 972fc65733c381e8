"""Valid files of each container that ecjax reads, and how it reads them."""

from __future__ import annotations

import dataclasses
import gzip
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import fuzz_models
import mutate_arrow
import mutate_npy
import mutate_parquet
import mutations
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from fuzz_judge import Container
from make_tables import with_points

from ecjax import cell_file
from ecjax.align import AlignedTask, align
from ecjax.peers import Alone
from ecjax.stream_read import Joined, described
from ecjax.study import read_study

ROWS = 24
PLACES = 'lat = "lat"\nlon = "lon"'


def table(seed: int, text_ids: bool = False) -> pd.DataFrame:
    """Ids, four numbered columns, a height, a crop and places; one row without a vector."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(ROWS, 4)).round(3)
    vectors[5] = np.nan
    frame = pd.DataFrame(vectors, columns=[f"emb_{j}" for j in range(4)])
    ids = np.arange(100, 100 + ROWS)
    frame.insert(0, "id", [f"p{i}é" for i in ids] if text_ids else ids)
    frame["height"] = rng.normal(size=ROWS).round(3)
    frame["crop"] = rng.choice(["maize", "rice", "rye"], size=ROWS)
    frame["lat"], frame["lon"] = rng.uniform(-60, 60, ROWS).round(2), rng.uniform(-9, 9, ROWS)
    return frame


def with_lists(frame: pd.DataFrame, fixed: bool) -> pa.Table:
    """The same table with its vectors as one column of lists, null where there is none."""
    wide = [name for name in frame if name.startswith("emb_")]
    rows = [None if row[0] != row[0] else row for row in frame[wide].to_numpy(np.float32)]
    kind = pa.list_(pa.float32(), 4 if fixed else -1)
    rest = pa.Table.from_pandas(frame.drop(columns=wide), preserve_index=False)
    return rest.replace_schema_metadata(None).append_column("vector", pa.array(rows, kind))


def study_text(file: str, target: str, kind: str, places: str = PLACES) -> bytes:
    """A study whose one file is its embedding and its task."""
    return (
        f'[embeddings.a]\npath = "{file}"\n\n[tasks.t]\npath = "{file}"\ntarget = "{target}"\n'
        f'kind = "{kind}"\n{places}\n'
    ).encode()


def read_study_of(folder: Path) -> list[np.ndarray]:
    """All arrays of a folder's study."""
    return [array for task in align(read_study(folder / "study.toml")) for array in arrays_of(task)]


def read_streamed(folder: Path) -> list[np.ndarray]:
    """The same arrays, but of a study's tables that pass ten rows at a time."""
    study = read_study(folder / "study.toml")
    with tempfile.TemporaryDirectory(dir=folder) as order:
        joined = Joined(study.tasks["t"], study.join)
        joined.arrange(Path(order), most=10, budget=1e3)
        batches = list(joined.batches())
        joined.agree(Alone())
    y = np.concatenate([batch.y for batch in batches])
    if joined.codes is not None:
        y = joined.codes[np.concatenate([batch.rows for batch in batches])]
    places = [[getattr(batch.task, name) for batch in batches] for name in ("lat", "lon")]
    return arrays_of(
        dataclasses.replace(
            described(study.tasks["t"]),
            ids=np.concatenate([batch.task.ids for batch in batches]),
            y=y,
            classes=tuple(joined.classes),
            embeddings={"a": np.concatenate([batch.matrices["a"] for batch in batches])},
            lat=np.concatenate(places[0]),
            lon=np.concatenate(places[1]),
        )
    )


def arrays_of(task: AlignedTask) -> list[np.ndarray]:
    """What a run would compute with. Raises AssertionError if it is not in order."""
    n, ids, y = len(task.ids), task.ids, task.y
    assert n and ids.shape == (n,) and len(set(ids.tolist())) == n
    assert ids.dtype == np.int64 or all(isinstance(i, str) for i in ids)
    if task.kind == "regression":
        assert y.shape == (n, len(task.targets)) and y.dtype == np.float64 and np.isfinite(y).all()
    else:
        assert y.shape == (n,) and y.dtype == np.int32
        assert y.min() >= 0 and y.max() == len(task.classes) - 1
    for x in task.embeddings.values():
        assert x.ndim == 2 and len(x) == n and x.shape[1] and x.dtype in (np.float32, np.float64)
        assert x.flags.c_contiguous and np.isfinite(x).all()
    places = [p for p in (task.lat, task.lon) if p is not None]
    for degrees, limit in zip(places, (90, 180), strict=False):
        assert degrees.shape == (n,) and degrees.dtype == np.float64
        assert (np.abs(degrees) <= limit).all()
    classes = np.array(task.classes, object)
    return [ids, y, classes, *task.embeddings.values(), *places]


def _parquet(table: pa.Table, **how) -> bytes:
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), out, **how)
    return out.getvalue()


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def _of_table(name: str, file: str, write: Callable, kinds: dict, **more) -> Container:
    """A container that holds a table; half of them hold a regression, half a classification."""
    labels = ("crop", "classification") if more.pop("classes", False) else ("height", "regression")
    study = {"study.toml": study_text(file, *labels, more.pop("places", PLACES))}
    contents = write(table(1)), write(table(2))
    read, kinds = more.pop("read", read_study_of), mutations.ANY | kinds
    return Container(name, file, contents, read, kinds, study, names=(file,), **more)


def _wide(**how) -> Callable[[pd.DataFrame], bytes]:
    return lambda frame: _parquet(pa.Table.from_pandas(frame), **how)


def _with_dictionary(table: pa.Table) -> pa.Table:
    place = table.schema.get_field_index("crop")
    return table.set_column(place, "crop", table["crop"].dictionary_encode())


def _lists(fixed: bool, **how) -> Callable[[pd.DataFrame], bytes]:
    def write(frame: pd.DataFrame) -> bytes:
        frame = frame.assign(id=[f"p{i}é" for i in frame["id"]])
        return _parquet(_with_dictionary(with_lists(frame, fixed)), **how)

    return write


def _points(frame: pd.DataFrame) -> bytes:
    points = with_points(frame)
    out = io.BytesIO()
    pq.write_table(points, out, write_statistics=False)
    return out.getvalue()


CSV_WORDS = (",,", '"', '""', "\r\n", "1e39", "-9999", "nan", "NA", "181", "emb_0", "lat", "100")
CSV = {"words": mutations.text(CSV_WORDS), "lines": mutations.lines}


def _csv_tables() -> list[Container]:
    zipped = {f"zipped {kind}": mutations.zipped(how) for kind, how in CSV.items()}
    return [
        _of_table("csv", "a.csv", _csv, CSV),
        _of_table(
            "csv-gzip",
            "a.csv.gz",
            lambda frame: gzip.compress(_csv(frame), mtime=0),
            {"header, trailer": mutations.gzip_fields, **zipped},
            classes=True,
            covered=lambda content: [(0, len(content))],
            mending=tuple(zipped),
        ),
    ]


def _arrow(frame: pd.DataFrame, fixed: bool, stream: bool, compression: str | None) -> bytes:
    whole = _with_dictionary(with_lists(frame, fixed))
    out, how = io.BytesIO(), pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(out, whole.schema, options=how) as to:
        to.write_table(whole)
    return out.getvalue()


def _arrow_tables() -> list[Container]:
    def writer(*how) -> Callable[[pd.DataFrame], bytes]:
        return lambda frame: _arrow(frame, *how)

    files = mutate_arrow.MUTATIONS | mutate_arrow.OF_FILES
    return [
        _of_table("arrow", "a.feather", writer(True, False, "lz4"), files),
        _of_table("arrow-plain", "a.arrow", writer(False, False, None), files, classes=True),
        _of_table("arrow-stream", "a.arrow", writer(True, True, "zstd"), mutate_arrow.MUTATIONS),
    ]


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _arrays() -> list[Container]:
    """Vectors as an array, the ids of which are another."""
    study = (
        '[embeddings.a]\npath = "a.npy"\nids = "ids.npy"\n{}\n\n[tasks.t]\npath = "labels.csv"\n'
        'target = "height"\nkind = "regression"\nlat = "lat"\nlon = "lon"\n'
    )
    labels = _csv(table(1))
    ids = table(1)["id"].to_numpy()
    floats = [table(seed).filter(like="emb_").to_numpy() for seed in (1, 2)]
    quarters = [np.nan_to_num(x * 40, nan=-128).astype(np.int8) for x in floats]
    kinds = mutations.ANY | mutate_npy.MUTATIONS
    made = []
    for name, arrays, keys in (
        ("npy", floats, ""),
        ("npy-int8", quarters, 'dequantise = "alphaearth"'),
        ("npy-ids", (ids, ids[::-1].copy()), ""),
    ):
        file = "ids.npy" if name == "npy-ids" else "a.npy"
        beside = {"study.toml": study.format(keys).encode(), "labels.csv": labels}
        beside |= {"ids.npy": _npy(ids), "a.npy": _npy(floats[0])}
        del beside[file]
        contents = tuple(map(_npy, arrays))
        names = "a.npy", "ids.npy"
        made.append(Container(name, file, contents, read_study_of, kinds, beside, names=names))
    return made


def _parquet_tables() -> list[Container]:
    kinds = mutate_parquet.MUTATIONS
    delta = {name: "DELTA_BINARY_PACKED" for name in ("id",)}
    delta |= {name: "BYTE_STREAM_SPLIT" for name in ("emb_0", "emb_1", "height")}
    delta |= {"crop": "DELTA_LENGTH_BYTE_ARRAY"}
    return [
        _of_table("parquet", "a.parquet", _wide(compression="none", write_statistics=False), kinds),
        _of_table(
            "parquet-encodings",
            "a.parquet",
            _wide(use_dictionary=False, column_encoding=delta, compression="snappy"),
            kinds,
            classes=True,
        ),
        _of_table(
            "geoparquet",
            "a.parquet",
            _points,
            kinds,
            places='geometry = "geometry"',
        ),
        _of_table(
            "parquet-streamed",
            "a.parquet",
            _lists(True, write_page_checksum=True, row_group_size=13, write_statistics=False),
            kinds,
            classes=True,
            read=read_streamed,
            covered=mutate_parquet.covered,
            mending=mutate_parquet.MENDING,
        ),
        _of_table(
            "parquet-checksums",
            "a.parquet",
            _lists(True, write_page_checksum=True, compression="zstd", data_page_version="2.0"),
            kinds,
            classes=True,
            covered=mutate_parquet.covered,
            mending=mutate_parquet.MENDING,
        ),
        _of_table(
            "parquet-lists",
            "a.pq",
            _lists(
                False,
                write_page_checksum=True,
                compression="none",
                row_group_size=15,
                write_statistics=False,
            ),
            kinds,
            covered=mutate_parquet.covered,
            mending=mutate_parquet.MENDING,
        ),
    ]


STUDY = """\
# two embeddings, two tasks
name = "a study é"
join = "inner"

[embeddings.alpha]
path = "a.csv"
columns = "emb_*"
scale = 0.5
[embeddings.beta]
path = "b.csv"
id = "id"
allow_leaks = ["emb_0"]
[embeddings.gamma]
source = "coordinates"
encoding = "spherical_harmonics"
degree = 2

[tasks.height]
path = "a.csv"
target = ["height"]
kind = "regression"
missing = [-999, "none"]
lat = "lat"
lon = "lon"
group = "crop"
strata = { lat = 3, lon = [-5, 0, 5.5] }
embeddings = { beta = { path = "b.csv", columns = "emb_?" } }
[tasks."crop type"]
path = 'b.csv'
target = "crop"
kind = "classification"
split = "crop"
lat = "lat"
lon = "lon"

[sweep]
ridge_lambda = [0.1, 1, [1, 10]]
folds = [2, 5]
"""
STUDY_WORDS = (
    "[[", "]]", '"""', "'''", '"', "\\u0000", "\\U0010FFFF", "path", "id", "columns", "*", "**",
    "?", "[a-z]", "../a.csv", ".", "a.b.c", "emb_*", "lat", "crop", "0b1", "0o7", "1e5", "-1",
    "2**64", "[" * 900, "{a=" * 900, "a." * 2000, "regression", "group", "split", "regions",
    "12:00:00", "1979-05-27T07:32:00Z", "1e-400", "[]", "{}", "b.csv", "study.toml", "~", "file:",
)  # fmt: skip
STUDY_VALUES = (
    "9" * 5000, "-" + "9" * 4000, "0x" + "f" * 5000, "1e999", "-0.0", "nan", "inf", "true", "2",
    "[" * 400 + "]" * 400, "[" + "{a=[" * 150 + "]}" * 150 + "]", "[" + "1," * 5000 + "]", "[[]]",
    '"' + "é" * 5000 + '"', '""', '" "', '"\\u202e"', '"\\u0000"', '"../a.csv"', '"*"', '"**"',
    '"**/**/**/*"', '"a.csv/"', '"."', '"~"', '"[a"', '"/dev/zero"', '"/dev/null.csv"', '"b.csv"',
    '"' + "a/" * 3000 + 'a.csv"', '"' + "*" * 3000 + '"', '"' + "[a-b]*" * 500 + '"', '"emb_0"',
    "1979-05-27", "07:32:00", "1979-05-27T00:32:00.999999-07:00", "[1.5, true, 'a']", "4294967296",
    "{ lat = 3 }", "{ alpha = 'b.csv' }", "{ beta = { path = 'a.csv' } }", "[0.1, [1, 1]]",
    '["height", "height"]', '["emb_0", "height"]', '"group"', '"values"', "[[1e308, 1e309]]",
)  # fmt: skip
TOML = {
    "words": mutations.text(STUDY_WORDS),
    "values": mutations.values(STUDY_VALUES),
    "lines": mutations.lines,
}


def _studies() -> list[Container]:
    beside = {"a.csv": _csv(table(1)), "b.csv": _csv(table(2))}
    other = study_text("a.csv", "height", "regression")
    contents = STUDY.encode(), other
    kinds = mutations.ANY | TOML
    names = "study.toml", *beside, "/dev/"
    return [Container("toml", "study.toml", contents, read_study_of, kinds, beside, names=names)]


def _cells() -> list[Container]:
    def content(seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        arrays = {"sums": rng.normal(size=(3, 4)), "codes": np.arange(7 + seed)}
        return cell_file.pack({"task": "height", "seed": seed}, arrays)

    def read(folder: Path) -> list[np.ndarray]:
        header, arrays = cell_file.unpack((folder / "a.cell").read_bytes())
        return [np.array(repr(header)), *arrays.values()]

    return [
        Container(
            "cell", "a.cell", (content(1), content(2)), read, mutations.ANY,
            covered=lambda content: [(0, len(content))],
            refusals=(cell_file.Damaged, cell_file.OtherVersion),
        )
    ]  # fmt: skip


def containers() -> dict[str, Container]:
    """All of them, by name."""
    made = [*_csv_tables(), *_parquet_tables(), *_arrow_tables(), *_arrays(), *_studies()]
    made += [*_cells(), *fuzz_models.containers()]
    return {container.name: container for container in made}
