"""What differs between two evaluations, number by number: `ecjax compare` and `ecjax.compare`.

Differences are second − first. A test is made where both runs are of the same rows: of the rows'
losses where both have predictions, else of the fold scores where the folds are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ecjax import compare_tests, compare_text, store
from ecjax.compare_tests import Run
from ecjax.encode import arrow_table, differences
from ecjax.errors import InputError, UsageError
from ecjax.manifest import made_by
from ecjax.places import place_of
from ecjax.result import Result

WORDS = ("first", "second")
KEYS = ("task", "target", "metric", "subset")
NUMBERS = ("score", "pooled", "eci", "eci_pooled")
# Arguments that hold paths, and those that say who shared the work.
PRIVATE = ("out", "study", "profile", "shard", "coordinator", "num_processes", "process_id")
KEPT = ("name", "created", "protocol", "device", "precision", "versions", "git_commit")
SAME_BYTES, SAME_NUMBERS, DIFFERENT = "bytes", "numbers", "different"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two runs compared.

    Attributes:
      comparison: a row for each task × target × subset × metric (× swept keys) of either run.
      manifest: what both runs are (`first`, `second`), what differs in their settings
        (`differences`), whether the rows of each task are the same (`rows`: "", or why not), and
        which tables are (`tables`: "bytes", "numbers", "different", or the run that alone has it).
    """

    comparison: pd.DataFrame
    manifest: dict[str, Any]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        return {"comparison": self.comparison}

    @property
    def identical(self) -> bool:
        """Whether both runs have the same tables, and each the same numbers."""
        return set(self.manifest["tables"].values()) <= {SAME_BYTES, SAME_NUMBERS}

    def as_text(self, width: int = 100) -> str:
        """The readable summary."""
        return compare_text.summary(self.comparison, self.manifest, width)

    def __str__(self) -> str:
        return self.as_text()


def compare(
    first: str | Path | Result, second: str | Path | Result, *, out: str | Path | None = None
) -> Comparison:
    """Compares two evaluations number by number, with paired tests where their rows are the same.

    Args:
      first, second: directories that `ecjax evaluate` wrote, or results of `ecjax.evaluate`.
      out: a directory that the table is also written to.

    Raises:
      ecjax.InputError: a directory holds no whole results of `evaluate`, or `out` other ones.
      ecjax.UsageError: an argument is neither a directory nor a result.
    """
    runs, files = zip(*(_read(of) for of in (first, second)), strict=True)
    fingerprint = {"command": "compare"} | {
        word: run.manifest.get("study") for word, run in zip(WORDS, runs, strict=True)
    }
    if out is not None:
        store.check_directory(out, fingerprint)
    keys = list(dict.fromkeys(key for run in runs for key in run.manifest.get("swept") or []))
    table = compare_tests.with_tests(_numbers(runs, keys), keys, runs)
    tasks = dict.fromkeys(name for run in runs for name in run.manifest.get("tasks") or {})
    shared = [name for name in tasks if all(run.task(name) for run in runs)]
    manifest = {
        "name": " and ".join(str(run.manifest.get("name", "?")) for run in runs),
        **made_by(),
        "study": fingerprint,
        "swept": keys,
        "arguments": {"confidence": compare_tests.confidence(runs)},
        **{
            word: {key: run.manifest.get(key) for key in KEPT}
            for word, run in zip(WORDS, runs, strict=True)
        },
        "differences": _differences(*(run.manifest for run in runs)),
        "rows": {name: compare_tests.rows_reason(runs, name) for name in shared},
        "tables": _same_tables(runs, files),
    }
    result = Comparison(table, manifest)
    if out is not None:
        store.write_results(out, result.tables, manifest)
    return result


def _read(of: str | Path | Result) -> tuple[Run, Mapping[str, str]]:
    """A run, and the SHA-256 of its files where it has any."""
    if isinstance(of, Result):
        return Run(of.tables, of.manifest), {}
    if not isinstance(of, (str, Path)):
        raise UsageError(
            f"compare takes directories or results of ecjax.evaluate, not {type(of).__name__}"
        )
    place = place_of(of)
    tables, manifest = store.read_results(place)
    if "scores" not in tables:
        raise InputError(
            f"{place}: holds no scores, which `ecjax evaluate` writes, only {', '.join(tables)}. "
            "Name a directory that was given to evaluate."
        )
    return Run(tables, manifest), manifest["files"]


def _numbers(runs: tuple[Run, Run], keys: Sequence[str]) -> pd.DataFrame:
    """Both runs' numbers side by side, and their differences."""
    on = [*KEYS, *keys]
    found = [_of_run(run, keys) for run in runs]
    for key in keys:
        if len({frame[key].dtype.kind for frame in found}) > 1:  # grids are text
            for frame in found:
                frame[key] = frame[key].astype(object).where(frame[key].isna(), frame[key].map(str))
    table = pd.concat([frame[on] for frame in found]).drop_duplicates(ignore_index=True)
    for word, frame in zip(WORDS, found, strict=True):
        named = {name: f"{name}_{word}" for name in NUMBERS}
        table = table.merge(frame.rename(columns=named).assign(**{word: True}), "left", on)
    there = [table.pop(word).notna() for word in WORDS]
    table.insert(len(on), "present", "both")
    table.loc[~there[1], "present"], table.loc[~there[0], "present"] = WORDS
    for name in NUMBERS:
        table[f"{name}_difference"] = table[f"{name}_second"] - table[f"{name}_first"]
    order = [f"{name}_{word}" for name in NUMBERS for word in (*WORDS, "difference")]
    return table[[*on, "present", *order]]


def _of_run(run: Run, keys: Sequence[str]) -> pd.DataFrame:
    """Scores and indices of one run, of tasks and single targets, by KEYS and the swept keys."""
    own = [key for key in keys if key in run.tables["scores"].columns]
    on = [*KEYS, *own]
    parts = [run.tables["scores"].assign(target=None)]
    if len(run.tables.get("targets", ())):
        parts.append(run.tables["targets"])
    scores = pd.concat(
        [part[[*on, "score", "pooled"]].astype({"target": object}) for part in parts]
    )
    index = run.tables["index"][[*on, "eci", "eci_pooled"]].astype({"target": object})
    for frame in (scores, index):
        frame["target"] = frame["target"].where(frame["target"].notna(), None)
    found = scores.merge(index, "left", on)
    for key in keys:
        if key not in own:
            found[key] = _argument(run, key)
    return found


def _argument(run: Run, key: str) -> Any:
    """The one value that an unswept key has, as a column would have it."""
    value = run.argument(key)
    if isinstance(value, (list, tuple)):
        return value[0] if len(value) == 1 else ",".join(f"{v:g}" for v in value)
    return value


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """What differs in inputs, settings and versions, one text each."""
    studies = [of.get("study") or {} for of in (first, second)]
    told = set(studies[0])
    if not all(studies):  # a result that no directory was written of
        told = ("protocol", "precision")
        studies = [
            {"tasks": list(of["tasks"]), **{key: of[key] for key in ("embeddings", *told)}}
            for of in (first, second)
        ]
    settings = [
        {k: v for k, v in (of.get("arguments") or {}).items() if k not in (*told, *PRIVATE)}
        for of in (first, second)
    ]
    names = ("name", "embeddings", "device", "versions", "git_commit")
    made = [
        {"columns" if k == "embeddings" else k: of.get(k) for k in names} for of in (first, second)
    ]
    return [text for pair in (studies, settings, made) for text in differences(*pair, WORDS)]


def _same_tables(runs: tuple[Run, Run], files: tuple[Mapping[str, str], ...]) -> dict[str, str]:
    """Table → how far it is the same in both, or which run alone has it."""
    found = {}
    for name in dict.fromkeys([*runs[0].tables, *runs[1].tables]):
        there = [name in run.tables for run in runs]
        hashes = [of.get(f"{name}.parquet") for of in files]
        if not all(there):
            found[name] = WORDS[there.index(True)]
        elif None not in hashes and hashes[0] == hashes[1]:
            found[name] = SAME_BYTES
        else:
            one, two = (arrow_table(run.tables[name]) for run in runs)
            found[name] = SAME_NUMBERS if one.equals(two) else DIFFERENT
    return found
