"""The catalogue of label sets, and how it is shown."""

import collections

import pytest

from ecjax.errors import InputError
from ecjax.label_sets import METRICS, as_text, label_set, label_sets
from ecjax.study import KINDS, check_name
from ecjax.transforms import TRANSFORMS


def test_there_are_sixty_of_forty_tables():
    sets = label_sets()
    assert len(sets) == 60 and len({one.table for one in sets.values()}) == 40
    families = collections.Counter(one.table.partition("_")[0] for one in sets.values())
    assert families["dm"] == 15 and families["usavars"] == 7 and families["bt"] == 6
    assert families["sustainbench"] == 6 and families["cdc"] == 12


def test_each_is_well_formed():
    for name, one in label_sets().items():
        assert check_name(name, "task") == one.name == name
        assert one.kind in KINDS and one.kind in METRICS
        assert one.targets and one.source and one.licence
        assert one.transform in ("", *TRANSFORMS)
        assert one.transform == "" or one.kind == "regression"


def test_names_are_found_however_they_write_hyphens():
    assert label_set("bt_biomass") is label_set("BT-Biomass") is label_sets()["bt-biomass"]
    assert label_set("dm-africa-crop-mask").table == "dm_africa_crop_mask"
    with pytest.raises(
        InputError, match='a table with 2 label sets: "bt-population", "bt-distroad"'
    ):
        label_set("bt_human_footprint")
    with pytest.raises(InputError, match=r'"places-asthmas"; did you mean places-asthma\?'):
        label_set("places-asthmas")
    with pytest.raises(InputError, match="ecjax tasks"):
        label_set("\x1b[31m")


@pytest.mark.parametrize("width", [60, 78, 100, 160])
def test_names_and_addresses_are_whole(width):
    told = as_text(width)
    for one in label_sets().values():
        for word in f"{one.source}. Licence: {one.licence} {one.note}".split():
            assert word in told


@pytest.mark.parametrize("width", [60, 100, 160])
def test_the_list_names_all(width):
    lines = as_text(width).splitlines()
    starts = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert starts == ["name", *label_sets()]
    text = " ".join(" ".join(lines).split())
    assert "sustainbench-asset regression r2 ? trainval/test asset_index" in text
    assert "worldclim-bio1 regression r2 20,000 - bio1" in text
    assert "Licence: CC-BY-NC-4.0 dm-us_trees" in text
