"""`result.plot` draws the result's own tables, and says what to install where it cannot."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import drawn
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecjax import Overlap, Result, ScaleResult, UsageError, figures
from ecjax.plots import Plots

TABLES, MANIFEST = drawn.make_tables(), drawn.make_manifest()
OF_TASK = ("scores", "gains", "shapley", "commonality", "map")


def make_result():
    kept = {key: TABLES[key] for key in ("scores", "index", "gains", "shapley")}
    return Result(
        folds=TABLES["scores"], targets=TABLES["scores"].head(0), manifest=MANIFEST, **kept
    )


def same(one, other):
    return figures.inline_svg(one, "t", "d", "k") == figures.inline_svg(other, "t", "d", "k")


def test_a_result_draws_its_own_tables():
    result = make_result()
    assert same(result.plot.index(), figures.index(TABLES, MANIFEST))
    assert same(result.plot.shapley("crops"), figures.shapley(TABLES, MANIFEST, "crops"))


@pytest.mark.parametrize("figure", OF_TASK)
def test_the_first_task_is_drawn_where_none_is_named(figure):
    plot = Plots(TABLES, MANIFEST)
    found = getattr(plot, figure)()
    assert isinstance(found, Axes)
    assert same(found, getattr(figures, figure)(TABLES, MANIFEST, drawn.TASKS[0]))


def test_arguments_are_handed_on():
    plot, subset = Plots(TABLES, MANIFEST), "+".join(drawn.MODELS)
    assert same(
        plot.strata("latitude", "crops", subset),
        figures.strata(TABLES, MANIFEST, "crops", "latitude", subset),
    )
    assert same(plot.map("crops", subset), figures.map(TABLES, MANIFEST, "crops", subset))
    assert same(plot.overlap("r2"), figures.overlap(TABLES, MANIFEST, "r2"))
    ax = Figure().add_subplot()
    assert plot.gains("crops", ax=ax) is ax
    assert plot.index(ax=Figure().add_subplot()).get_title(loc="left")


def test_overlap_and_scale_draw_theirs():
    found = Overlap(TABLES["overlap"], MANIFEST)
    assert same(found.plot.overlap(), figures.overlap(TABLES, MANIFEST))
    found = ScaleResult(TABLES["scale"], MANIFEST)
    assert same(found.plot.scale(), figures.scale({"scale": TABLES["scale"]}, MANIFEST))


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "matplotlib" else found(name),
    )
    with pytest.raises(UsageError, match=r"pip install 'ecjax\[plot\]'"):
        make_result().plot.index()


def test_a_table_that_is_not_there_is_said():
    with pytest.raises(UsageError, match="table maps"):
        make_result().plot.map()
    with pytest.raises(UsageError, match="name the task"):
        Plots(TABLES, {}).scores()


def test_importing_loads_no_matplotlib():
    code = "import ecjax, sys; sys.exit('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    assert done.returncode == 0
