"""2,000 damaged files are refused or read rightly; and what would tell that they are not, does."""

import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import mutate_parquet
import numpy as np
import pytest
from fuzz_containers import arrays_of, containers, read_study_of
from fuzz_judge import (
    MOST_SAID,
    RAN,
    Case,
    Container,
    draw_case,
    equal,
    is_bound,
    judge,
    prepare,
)
from mutations import ANY

from ecjax.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
ALL = containers()
PARQUET = [name for name in ALL if name.startswith("parquet")]


def test_2000_damaged_files_are_refused_or_read_rightly():
    done = subprocess.run(
        [sys.executable, ROOT / "experiments" / "fuzz.py", "--cases=2000", "--workers=1"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=400,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " cases in " in done.stdout and "FAILED:" not in done.stdout


def test_a_case_is_the_same_each_time_and_another_for_another_number_or_seed():
    among = [ALL["csv"], ALL["toml"]]
    for number in range(4):
        first, again = (draw_case(among, 1, number) for _ in range(2))
        assert (first.kind, first.content) == (again.kind, again.content)
        others = draw_case(among, 2, number), draw_case(among, 1, number + 2)
        assert first.content not in (other.content for other in others)


@pytest.mark.parametrize("name", ALL)
def test_every_kind_of_change_changes_something(name):
    container = ALL[name]
    content, other = container.contents
    for kind, mutate in container.kinds.items():
        if kind not in ANY or name == "csv":
            changed = {mutate(content, other, random.Random(seed)) for seed in range(8)}
            assert len(changed - {content}) > 2, kind


@pytest.mark.parametrize("name", PARQUET)
def test_footers_and_page_headers_are_put_together_as_they_were(name):
    for content in ALL[name].contents:
        footer, start = mutate_parquet.footer_of(content)
        assert mutate_parquet.with_footer(content[:start], footer) == content
        pages = mutate_parquet.pages(content)
        assert len(pages) >= 9
        for page in pages:
            assert mutate_parquet.unparse(page.header) == content[page.start : page.body]


def test_what_a_checksum_covers_is_known():
    container = ALL["parquet-checksums"]
    content = container.contents[0]
    start, stop = container.covered(content)[3]

    def changed(place):
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    assert is_bound(container, changed(start)) and is_bound(container, changed(stop - 1))
    assert not is_bound(container, changed(start - 1)) and not is_bound(container, changed(stop))
    assert is_bound(container, content[: start + 1] + content[start + 2 :])
    assert not is_bound(container, content[: start - 1] + content[start:])
    assert not is_bound(ALL["parquet"], changed(start))


def raising(error):
    def read(folder):
        raise error

    return read


def warning(folder):
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)


def disorder(folder):
    raise AssertionError


def running(folder):
    RAN.mkdir()
    raise InputError("a.csv: damaged")


ONES = [np.ones(3)]


@pytest.mark.parametrize(
    ("read", "bound", "outcome"),
    [
        (raising(InputError("a.csv: damaged; copy it again")), True, "refused"),
        (raising(InputError("damaged")), True, "message"),
        (raising(InputError("a.csv: one line", "and the way out")), True, "refused"),
        (raising(LookupError("a.csv: one line\nand another")), True, "message"),
        (raising(InputError("a.csv" + "x" * MOST_SAID)), True, "message"),
        (raising(InputError("a.csv: malloc of size 12 failed")), True, "memory"),
        (raising(MemoryError()), True, "memory"),
        (raising(ValueError("a.csv")), True, "error"),
        (raising(SystemExit(1)), True, "error"),
        (warning, True, "error"),
        (disorder, True, "disorder"),
        (running, True, "ran"),
        (lambda folder: [np.ones(3)], True, "equal"),
        (lambda folder: [np.ones(2)], True, "fooled"),
        (lambda folder: [np.zeros(3)], True, "fooled"),
        (lambda folder: [np.zeros(3)], False, "changed"),
    ],
)
def test_what_became_of_a_case_is_told(tmp_path, monkeypatch, read, bound, outcome):
    monkeypatch.chdir(tmp_path)
    refusals = InputError, LookupError
    container = Container(
        "csv", "a.csv", (b"1", b"2"), read, ANY, refusals=refusals, names=("a.csv",)
    )
    assert judge(Case(container, "bits", b"3", bound), tmp_path, ONES)[0] == outcome


def test_arrays_that_are_out_of_order_are_found(tmp_path, monkeypatch):
    folder = prepare(ALL["csv"], tmp_path)
    (folder / "a.csv").write_bytes(ALL["csv"].contents[0])
    found = read_study_of(folder)
    assert equal(found, found) and not equal(found, found[:-1])
    from ecjax.align import align
    from ecjax.study import read_study

    (task,) = align(read_study(folder / "study.toml"))
    task.embeddings["a"][3, 2] = np.inf
    with pytest.raises(AssertionError):
        arrays_of(task)
