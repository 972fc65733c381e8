"""Feeds ecjax damaged files of every container it reads: does it refuse each, or read it rightly?

    python experiments/fuzz.py [--cases=100000] [--workers=2] [--containers=parquet,toml]

Each case is a valid file that is changed: bits, words, pieces cut out, put in, repeated, moved or
taken from another file, and values changed where the container's own readers rely on them. Workers
read it as ecjax does. It must be refused by a message of one printable line that names the file, or
read in order: as what it was, or, where no checksum covers the change, as something else. Anything
else is a failure: a crash, over 10 s, over 1 GiB, another exception or a warning, an answer that is
not in order, changed values under a checksum.

First the watch over the workers is given a crash, a hang and a hunger for memory, and must see
each; then the cases of tests/fuzz_cases, which failed once. Prints a table of container × kind of
change × outcome, cases per second, and the worst seconds and memory of a case. Keeps new failures
of under 4 kB in the folder --keep, and exits with 1 if there was one. Expect none; takes four
minutes on one core.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import app, flags

sys.path.append(os.path.join(os.path.dirname(__file__), os.pardir, "tests"))

from fuzz_containers import containers
from fuzz_judge import PASSED, Case, Container, draw_case, draw_kind, judge, prepare
from fuzz_pool import Limits, Pool, Verdict

ROOT = Path(__file__).resolve().parents[1]
CASES = flags.DEFINE_integer("cases", 100_000, "How many.", 0)
SEED = flags.DEFINE_integer("seed", 1, "Of the cases.", 0)
WORKERS = flags.DEFINE_integer("workers", 2, "How many processes read them.", 1)
CONTAINERS = flags.DEFINE_list("containers", [], "Only these.")
KEEP = flags.DEFINE_string("keep", None, "A folder for the files of new failures.")
KEPT = flags.DEFINE_string("kept", str(ROOT / "tests" / "fuzz_cases"), "That of old ones.")

MOST_KEPT = 4096  # bytes of a case
STEADY = Path("/dev/shm")  # files there cost no disk


def trap(name: str) -> tuple[str, str]:
    """Does what a worker must be ended or buried for."""
    if name == "crash":
        import ctypes

        ctypes.string_at(0)
    held = []
    while name == "hang" or len(held) < 200:
        held += [np.ones(1 << 17)] * (name == "memory")
        time.sleep(0.002 * (name == "memory"))
    return "equal", ""


def check_the_pool(folder: Path) -> None:
    """Exits unless the workers' watch sees a crash, a hang and a hunger for memory."""
    limits = Limits(seconds=0.3, nbytes=64 << 20)
    pool = Pool(lambda name, _: trap(name), folder, 1, limits)
    found = {name: verdict.outcome for name, verdict in pool.run(["crash", "hang", "memory"])}
    if any(name != outcome for name, outcome in found.items()) or len(found) != 3:
        raise SystemExit(f"FAILED: the watch is blind, for it took traps so: {found}")


class Cases:
    """Cases by their text: the number of one to draw, or the path of one that was kept."""

    def __init__(self, among: list[Container], folder: Path):
        self.among = {container.name: container for container in among}
        self.expected = {}
        for container in among:
            own = prepare(container, folder)
            (own / container.file).write_bytes(container.contents[0])
            self.expected[container.name] = container.read(own)

    def __getitem__(self, text: str) -> Case:
        if text.isdecimal():
            return draw_case(list(self.among.values()), SEED.value, int(text))
        container = self.among[Path(text).name.split(".")[0]]
        bound = Path(text).name.split(".")[1] == "fooled"
        return Case(container, "kept", Path(text).read_bytes(), bound)

    def kind(self, text: str) -> tuple[str, str]:
        """Container and kind of change, without making the case."""
        if text.isdecimal():
            container, kind, _ = draw_kind(list(self.among.values()), SEED.value, int(text))
            return container.name, kind
        return Path(text).name.split(".")[0], "kept"

    def judge(self, text: str, folder: Path) -> tuple[str, str]:
        """What a worker does with one."""
        case = self[text]
        return judge(case, folder, self.expected[case.container.name])

    def kept(self, folder: Path) -> list[str]:
        """Those of a folder."""
        files = sorted(folder.glob("*.*.*")) if folder.is_dir() else []
        return [str(file) for file in files if file.name.split(".")[0] in self.among]


class Report:
    """What became of the cases."""

    def __init__(self, cases: Cases, keep: Path | None):
        self.cases, self.keep = cases, keep
        self.outcomes: dict[tuple[str, str], Counter[str]] = {}
        self.failures: Counter[str] = Counter()
        self.seconds = self.nbytes = (0.0, "")

    def add(self, text: str, verdict: Verdict) -> None:
        """Counts one; a failure is told at once, and kept where it is small and the first."""
        key = container, kind = self.cases.kind(text)
        name = f"{container}, {kind}, case {text}"
        failed = verdict.outcome not in PASSED
        self.outcomes.setdefault(key, Counter())["FAILED" if failed else verdict.outcome] += 1
        self.seconds = max(self.seconds, (verdict.seconds, name))
        self.nbytes = max(self.nbytes, (verdict.nbytes, name))
        if not failed:
            return
        alike = f"{container} {verdict.outcome} {_without_digits(verdict.detail)}"
        self.failures[alike] += 1
        if self.failures[alike] > 1:
            return
        print(f"FAILED: {name}: {verdict.outcome}: {verdict.detail[:400]!r}", flush=True)
        content = self.cases[text].content
        if self.keep is not None and len(content) <= MOST_KEPT:
            self.keep.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256(content).hexdigest()[:8]
            (self.keep / f"{container}.{verdict.outcome}.{digest}").write_bytes(content)

    def lines(self, seconds: float) -> Iterator[str]:
        """The report."""
        columns = (*PASSED, "FAILED")
        yield f"{'container':20}{'change':16}" + "".join(f"{c:>9}" for c in columns)
        total = Counter()
        for (container, kind), counts in sorted(self.outcomes.items()):
            total += counts
            numbers = "".join(f"{counts[column]:9,}" for column in columns)
            yield f"{container:20}{kind:16}{numbers}"
        yield f"{'all':36}" + "".join(f"{total[column]:9,}" for column in columns)
        count = total.total()
        yield f"{count:,} cases in {seconds:,.0f} s: {count / seconds:,.0f} a second"
        yield f"most CPU of a case: {self.seconds[0]:.2f} s ({self.seconds[1]})"
        yield f"most memory of a case: {self.nbytes[0] / 2**20:,.0f} MiB ({self.nbytes[1]})"
        for alike, number in self.failures.most_common():
            yield f"FAILED {number:,} times: {alike!r}"


def _without_digits(text: str) -> str:
    return "".join(c for c in text if not c.isdigit())[:120]


def check_valid(cases: Cases, folder: Path) -> None:
    """Exits unless every undamaged file is read as what it holds."""
    for container in cases.among.values():
        case = Case(container, "none", container.contents[0], True)
        found = judge(case, folder, cases.expected[container.name])
        if found[0] != "equal":
            raise SystemExit(f"FAILED: {container.name}, undamaged: {found}")


def main(_) -> None:
    known = containers()
    unknown = set(CONTAINERS.value) - set(known)
    if unknown:
        raise app.UsageError(f"no container {sorted(unknown)}; there are {', '.join(known)}")
    among = [known[name] for name in CONTAINERS.value or known]
    steady = STEADY if STEADY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=steady) as name:
        folder = Path(name)
        check_the_pool(folder)
        cases = Cases(among, folder)
        check_valid(cases, folder)
        report = Report(cases, KEEP.value and Path(KEEP.value))
        texts = [*cases.kept(Path(KEPT.value)), *map(str, range(CASES.value))]
        start = time.monotonic()
        for text, verdict in Pool(cases.judge, folder, WORKERS.value).run(texts):
            report.add(text, verdict)
        print("\n".join(report.lines(time.monotonic() - start)))
    if report.failures:
        raise SystemExit(1)


if __name__ == "__main__":
    app.run(main)
