"""Recipes for clusters: ecjax knows the flags that they give, and 75 alone is queued again."""

import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from ecjax import options

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "experiments/cluster"
GIVEN = ["study.toml", "--out=a place", "--seeds=3"]
IN_JOB = {"SLURM_JOB_ID": "8", "SLURM_CPUS_PER_TASK": "4"}
IN_ARRAY = {
    "SLURM_ARRAY_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "32"
}  # fmt: skip


def flags_of(arguments):
    """{flag: value} that a command of ecjax is given, as it reads them."""
    rest, values = options.parse(arguments[0], arguments[1:])
    assert len(rest) == 1, f"{rest}: a study or directory is wanted"
    return {name: values[name].value for name in values if values[name].present}


def container_arguments(text):
    """What a manifest's container gives to ecjax."""
    lines = re.search(r"args:\n((?: +- .*\n)+)", text).group(1).splitlines()
    return [line.split("- ", 1)[1].split(" #")[0] for line in lines]


def number(text, key):
    return int(re.search(rf"\b{key}: (\d+)", text).group(1))


@pytest.fixture
def slurm(tmp_path):
    """Runs a job's script where srun and scontrol only tell what they were given: its exit code,
    what ran as a step, and what was asked of the controller."""
    for tool in ("srun", "scontrol"):
        told = f'#!/bin/sh\nprintf "%s\\n" "$@" >"{tmp_path}/{tool}.txt"\nexit "$CODE"\n'
        (tmp_path / tool).write_text(told)
        (tmp_path / tool).chmod(0o755)

    def run(script, code, environment):
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        ended = subprocess.run(
            ["bash", RECIPES / script, *GIVEN],
            env={"PATH": path, "CODE": str(code), **IN_JOB, **environment},
        )
        tools = (tmp_path / "srun.txt", tmp_path / "scontrol.txt")
        step, asked = [t.read_text().splitlines() if t.exists() else [] for t in tools]
        return ended.returncode, step, asked

    return run


@pytest.mark.parametrize("script, environment, shard", [
    ("slurm_array.sh", IN_ARRAY, ["--shard=3/32"]),
    ("slurm_array.sh", {}, []),
    ("slurm_step.sh", {}, []),
])  # fmt: skip
def test_a_job_of_slurm_runs_ecjax_with_its_arguments(slurm, script, environment, shard):
    code, step, asked = slurm(script, 0, environment)
    assert code == 0 and not asked
    assert step == ["ecjax", "evaluate", *GIVEN, *shard]
    known = {"out": "a place", "seeds": 3} | ({"shard": "3/32"} if shard else {})
    assert flags_of(step[1:]) == known


@pytest.mark.parametrize("script, environment, job", [
    ("slurm_array.sh", IN_ARRAY, "8_3"), ("slurm_array.sh", {}, "8"), ("slurm_step.sh", {}, "8"),
])  # fmt: skip
@pytest.mark.parametrize("code", [75, 143])  # 143: SIGTERM that nobody hears
def test_a_job_of_slurm_is_queued_again_when_interrupted(slurm, script, environment, job, code):
    assert slurm(script, code, environment)[::2] == (code, ["requeue", job])
    assert slurm(script, code, {**environment, "SLURM_RESTART_COUNT": "99"})[2]


@pytest.mark.parametrize(
    "code, restarts", [(1, 0), (2, 0), (3, 0), (137, 0), (75, 100), (143, 100)]
)
@pytest.mark.parametrize("script", ["slurm_array.sh", "slurm_step.sh"])
def test_a_job_of_slurm_fails_otherwise(slurm, script, code, restarts):
    environment = {**IN_ARRAY, "SLURM_RESTART_COUNT": str(restarts)}
    assert slurm(script, code, environment)[::2] == (code, [])


def test_pods_compute_all_shards_and_one_assembles():
    text = (RECIPES / "kubernetes.yaml").read_text()
    *rest, shard = container_arguments(text)
    index, count = shard.removeprefix("--shard=").split("/")
    assert index == "$(JOB_COMPLETION_INDEX)"
    assert number(text, "completions") == number(text, "parallelism") == int(count)
    assert flags_of([*rest, f"--shard=0/{count}"]).keys() == {"out", "shard"}
    tables = re.sub(r".*# shards.*\n", "", text)  # as the recipe's `sed` does
    assert container_arguments(tables) == rest
    assert not re.search(r"Index|completions|parallelism", tables)


def test_hosts_of_a_slice_run_one_study():
    text = (RECIPES / "tpu.yaml").read_text()
    assert flags_of(container_arguments(text)).keys() == {"out", "require_platform"}
    assert number(text, "completions") == number(text, "parallelism")


@pytest.mark.parametrize("recipe", ["kubernetes.yaml", "tpu.yaml"])
def test_pods_have_time_to_end(recipe):
    text = (RECIPES / recipe).read_text()
    assert number(text, "terminationGracePeriodSeconds") >= 60
    assert "containerName: main" in text and "- name: main" in text


def test_container_is_of_what_there_is():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (RECIPES / "Containerfile").read_text()
    assert re.search(r'ENTRYPOINT \["(\w+)"\]', text).group(1) in project["scripts"]
    for extra in re.search(r"'\.\[(.*)\]'", text).group(1).split(","):
        assert extra in project["optional-dependencies"]
    copied = [name for line in re.findall("COPY (.*) \\S+\n", text) for name in line.split()]
    assert "ecjax" in copied and all((ROOT / name).exists() for name in copied)
    assert project["readme"] in copied


def test_page_gives_commands_that_there_are():
    text = (RECIPES.parent / "cluster.md").read_text()
    blocks = "".join(re.findall("```bash\n(.*?)```", text, re.S))
    commands = re.findall(r"\becjax (?=[a-z]+ )([^#&\n]*)", blocks)
    assert len(commands) == blocks.count("ecjax ") >= 5
    for command in commands:
        flags_of(shlex.split(command.replace("$i", "0")))
    for name in re.findall(r"\(cluster/(.*?)\)", text):
        assert (RECIPES / name).is_file()
    assert {path.name for path in RECIPES.iterdir()} == set(re.findall(r"\(cluster/(.*?)\)", text))
