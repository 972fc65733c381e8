"""Plans of streams: what is counted, and how it reads."""

import dataclasses

import pytest
from make_streams import write_study

from ecjax import stream_cost, stream_plan
from ecjax.settings import from_arguments
from ecjax.stream_cost import Shape
from ecjax.stream_plan import plan_stream
from ecjax.subsets import build_lattice

BUDGET = 1e7


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), gaps=True)


def planned(study, **arguments):
    return plan_stream(study, from_arguments({"split": "hash"} | arguments), BUDGET)


def test_a_task_s_shape_is_that_of_its_tables(study):
    plan = planned(study, folds=4, seeds=2, protocol="paper")
    (task,) = plan.tasks
    assert (task.rows, task.columns, task.targets, task.classes) == (417, 11, 2, 0)
    assert (task.subsets, task.folds, plan.seeds, plan.settings) == (7, 4, 2, 1)
    every = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    shape = Shape(417, build_lattice((6, 3, 2), every), 4, 2, False)
    assert task.cost == stream_cost.ridge(shape, 2, BUDGET)
    assert planned(study, folds=4, passes=1, protocol="paper").tasks[0].cost.passes == 1
    strict = planned(study, folds=4, seeds=2).tasks[0].cost
    assert strict.operations[1] > 20 * task.cost.operations[1]  # grids and inner folds
    columns = planned(study, split="column").tasks[0]
    assert columns.folds == 4 and columns.rows == 417


def test_a_first_pass_serves_settings_of_the_same_folds(study):
    plain = planned(study, folds=4, protocol="paper")
    swept = planned(study, folds=4, protocol="paper", ridge_lambda=[1.0, 2.0, 3.0])
    assert (plain.tasks[0].cost.passes, swept.tasks[0].cost.passes) == (2, 4)
    assert swept.tasks[0].cost.operations[0] == plain.tasks[0].cost.operations[0]
    assert swept.operations > plain.operations and swept.settings == 3
    folds = planned(dataclasses.replace(study, sweep={"folds": (3, 4)}), protocol="paper")
    assert folds.tasks[0].cost.passes == 4
    assert folds.tasks[0].cost.operations[0] == 2 * plain.tasks[0].cost.operations[0]


def test_classes_take_passes_for_their_fits(tmp_path, monkeypatch):
    study = write_study(tmp_path, n=2000, targets=("biome",), kind="classification")
    monkeypatch.setattr(stream_plan.host, "available_cores", lambda: 2)
    few = plan_stream(study, from_arguments({"split": "hash", "protocol": "paper"}), 4e5)
    (task,) = few.tasks
    assert (task.classes, task.targets) == (3, 0) and task.cost.passes > 5
    lines = few.as_text().splitlines()
    assert lines[0].split() == ["task", "rows", "columns", "classes", "sets", "folds", "passes",
                                "a", "pass", "reads", "operations", "time", "memory"]  # fmt: skip
    assert max(map(len, lines)) <= 100


def test_processes_share_rows_and_repeat_ridge_fits(study):
    plan = planned(study, folds=4)
    needs, cost = plan.needs, plan.tasks[0].cost
    assert needs.repeated == cost.operations[1] == cost.repeated > 0
    assert needs.shared == cost.operations[0] + cost.operations[2]
    assert needs.shared_bytes == 2 * cost.bytes_read and needs.repeated_bytes == 0
