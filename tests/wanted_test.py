"""Tables of places: columns by their names, and places that are none."""

import struct

import numpy as np
import pandas as pd
import pytest
from make_models import places_table, write_places

from ecjax.errors import InputError
from ecjax.wanted import Given, read_wanted

BY_NAME = Given()


def read(folder, table, given=BY_NAME, year=None, ending=".csv"):
    return read_wanted(write_places(folder / f"plots{ending}", table), given, year)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize(
    "names",
    [("id", "lat", "lon"), ("index", "Latitude", "LONGITUDE"), ("GEOID", "Y", "X"),
     ("TRACT_ID", "latitude", "lng"), ("system:index", "Lat", "Lon")],
)  # fmt: skip
def test_columns_are_found_by_their_names(tmp_path, names, ending):
    ids = [f"{i:05d}" for i in range(40)]
    table = places_table(ids=ids).rename(
        columns=dict(zip(("id", "lat", "lon"), names, strict=True))
    )
    found = read(tmp_path, table, year=2020, ending=ending)
    assert list(found.task.roles.values()) == list(names)
    assert found.ids.tolist() == ids  # text stays text, with its zeros
    assert np.array_equal(found.places.lat, table[names[1]])
    assert np.array_equal(found.places.lon, table[names[2]])
    assert found.labels.column_names == [*names, "height"]


def test_flags_say_which_columns_are_meant(tmp_path):
    table = places_table().assign(y=7.0, plot=np.arange(40) + 5)
    found = read(tmp_path, table, Given(id="plot", lat="y"))
    assert found.ids[0] == 5 and set(found.places.lat) == {7.0}
    with pytest.raises(InputError, match='unknown column for --lat "latt"; did you mean "lat"'):
        read(tmp_path, table, Given(lat="latt"))


def test_columns_of_lists_are_no_labels(tmp_path):
    table = places_table().assign(vector=[[1.0, 2.0]] * 40, wkb=[b"x"] * 40)
    assert read(tmp_path, table, ending=".parquet").labels.column_names[3:] == ["height"]


def test_points_become_two_columns(tmp_path):
    table = places_table()
    at = table[["lon", "lat"]].itertuples(index=False)
    table["geometry"] = [struct.pack("<BIdd", 1, 1, *place) for place in at]
    expected = table["lat"].to_numpy(), table["lon"].to_numpy()
    found = read(tmp_path, table.drop(columns=["lat", "lon"]), ending=".parquet")
    assert np.array_equal(found.places.lat, expected[0])
    assert np.array_equal(found.places.lon, expected[1])
    assert found.task.roles == {"id": "id", "lat": "lat", "lon": "lon"}
    assert found.labels.column_names == ["id", "height", "lat", "lon"]
    assert read(tmp_path, table, ending=".parquet").labels.column_names[1:3] == ["lat", "lon"]


def test_years_are_of_the_flag_or_the_column(tmp_path):
    table = places_table()
    assert read(tmp_path, table).year is None
    assert set(read(tmp_path, table, year=2020).year) == {2020}
    table["Year"] = np.repeat([2019.0, 2021.0], 20)
    assert read(tmp_path, table).year.tolist() == [2019] * 20 + [2021] * 20
    assert set(read(tmp_path, table, year=2020).year) == {2020}


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("lat", np.nan, "1 of 40 rows is no place, for want of a latitude within ±90"),
        ("lat", np.nan, 'first row 8, id "7": "lat" is missing, "lon" is "'),
        ("lat", 91.0, 'id "7": "lat" is "91.0", "lon"'),
        ("lon", -181.0, '"lon" is "-181.0"; correct them'),
        ("lat", "here", '"lat" is "here", "lon"'),
        ("id", 8, '1 duplicate id ("8") in 40 rows'),
        ("year", 20210101, '"year" has 1 value that are no year, first "20210101'),
        ("year", np.nan, "1 value that are no year"),
        ("year", 2020.5, 'first "2020.5" at id "7"; correct them, or give one year'),
    ],
)
def test_places_that_are_none(tmp_path, column, value, says):
    table = places_table().assign(year=2021).astype(object)
    table.loc[7, column] = value
    with pytest.raises(InputError) as caught:
        read(tmp_path, table)
    assert says in str(caught.value) and "plots.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("table", "given", "says"),
    [
        (places_table().drop(columns="lat"), BY_NAME, "no column for the lat (such as "),
        (places_table().drop(columns="id"), BY_NAME, "no column of texts or whole numbers is"),
        (
            places_table().drop(columns="id").assign(plot=range(40), kind="a"),
            BY_NAME,
            'no column for the id (such as "id", "index", "fid" and 5 more) among "lat", '
            '"lon", "height", "plot", "kind"; "plot" could be, say which with --id=COLUMN',
        ),
        (places_table().drop(columns=["id", "lon"]), BY_NAME, "no column for the lon (such as "),
        (places_table().drop(columns=["lat", "lon"]), BY_NAME, "with --lat=COLUMN and --lon=COL"),
        (places_table().assign(Lat=1.0), BY_NAME, 'could be the lat: "lat", "Lat"; say which with'),
        (places_table(), Given(lat="lon", lon="lat"), "look swapped"),
    ],
)
def test_columns_that_are_not_there(tmp_path, table, given, says):
    with pytest.raises(InputError) as caught:
        read(tmp_path, table, given)
    assert says in str(caught.value)


def pasted(message: str, folder) -> pd.DataFrame:
    """The table `places` after the line of pandas that a message shows."""
    places = {"places": pd.read_csv(folder / "plots.csv"), "pd": pd}
    exec(message.partition("as with pandas: ")[2].partition("\n")[0], places)
    return places["places"]


@pytest.mark.parametrize("text", [False, True])
def test_rows_that_are_no_place_are_counted_and_can_be_left_out(tmp_path, text):
    table = places_table().astype({"lat": object})
    table.loc[[3, 7, 9], "lat"] = [95.0, np.nan, "n/a" if text else -100]
    table.loc[[7, 8], "lon"] = [np.nan, 200.0]
    with pytest.raises(InputError) as caught:
        read(tmp_path, table)
    assert "4 of 40 rows are no place" in str(caught.value)
    assert 'first row 4, id "3"' in str(caught.value)
    left = read(tmp_path, pasted(str(caught.value), tmp_path))
    assert left.ids.tolist() == [i for i in range(40) if i not in (3, 7, 8, 9)]
    with pytest.raises(InputError, match='40 of 40 rows are no place.*"; correct them$'):
        read(tmp_path, table.assign(lat=95.0))
    with pytest.raises(InputError, match="perhaps lat and lon are swapped"):
        read(tmp_path, places_table().rename(columns={"lat": "lon", "lon": "lat"}))


def test_points_beyond_the_degrees_are_counted(tmp_path):
    table = places_table(3).drop(columns=["lat", "lon"])
    table["geometry"] = [struct.pack("<BIdd", 1, 1, *place) for place in ((1, 2), (3, 95), (4, 5))]
    with pytest.raises(InputError) as caught:
        read(tmp_path, table, ending=".parquet")
    assert "1 of 3 rows is no place" in str(caught.value)
    assert 'places["geometry"].y.between(-90, 90) & places["geometry"].x.' in str(caught.value)


def test_points_as_text_are_found_and_the_way_out_works(tmp_path):
    table = places_table()
    shapes = "POINT (", "POINT(", "point z( ", "SRID=4326;POINT ("
    at = table[["lon", "lat"]].itertuples(index=False)
    table["site"] = [f"{shapes[i % 4]}{x} {y})" for i, (x, y) in enumerate(at)]
    with pytest.raises(InputError) as caught:
        read(tmp_path, table.drop(columns=["lat", "lon"]))
    assert "no column for the lat" in str(caught.value)
    assert str(caught.value).count('"site" holds points as text (first "POINT (') == 1
    found = read(tmp_path, pasted(str(caught.value), tmp_path))
    assert np.array_equal(found.places.lat, table["lat"])
    assert np.array_equal(found.places.lon, table["lon"])


def test_rows_without_ids_can_be_numbered(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path, places_table().drop(columns="id"))
    assert read(tmp_path, pasted(str(caught.value), tmp_path)).ids.tolist() == list(range(40))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(
        InputError,
        match="places: no file .*none.csv; check it .* relative to the working directory",
    ):
        read_wanted(str(tmp_path / "none.csv"), Given(), None)


def test_zero_has_no_sign(tmp_path):
    table = pd.DataFrame({"id": [1, 2], "lat": [0.0, -0.0], "lon": [-0.0, 0.0]})
    assert not np.signbit(np.stack(read(tmp_path, table).places)).any()
