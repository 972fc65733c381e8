"""What a paper would say of a run, from its manifest: a paragraph of methods, and BibTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ecjax.errors import counted, neutral
from ecjax.page_tables import safe

SPLITS = {
    "random": "at random",
    "stratified": "at random with all classes in proportion",
    "hash": "by a hash of seed and id",
    "group": "as whole groups",
    "column": "as a column of the task says",
}
GRIDS = {
    "ridge_lambda": "13 half-decades from 1e-4 to 1e2 times the number of training rows",
    "logistic_c": "values of C with 1/C in decades from 1e-5 to 1e-1 times the number of training "
    "rows",
}
INTERVALS = {
    "ratio": "in closed form from the losses of single rows, those of ridge and log-loss with what "
    "each row does to the others by being trained on",
    "bootstrap": "by BCa from {bootstraps:,} bootstrap replicates of the losses",
    "refit": "from {bootstraps:,} bootstrap replicates with every fit repeated",
    "nested": "from nested cross-validation (Bates, Hastie and Tibshirani, 2021)",
}
PAPER = """\
@misc{vanderplas2026better,
  title = {Better Together: Evaluating the Complementarity of Earth Embedding Models},
  author = {van der Plas and others},
  year = {2026},
  eprint = {2605.18667},
  archivePrefix = {arXiv}
}"""


def methods(manifest: Mapping[str, Any]) -> str:
    """The paragraph about an evaluation, as plain text; what the manifest lacks is left out."""
    given = manifest.get("arguments") or {}
    parts = [_data(manifest), _fits(manifest), _folds(manifest, given)]
    if "protocol" in manifest:
        parts.append(_penalties(manifest, given))
    parts += [_index(manifest), _intervals(manifest, given), _tests(manifest), _made(manifest)]
    return " ".join(part for part in parts if part)


def bibtex(manifest: Mapping[str, Any]) -> str:
    """Entries of the paper and of ecjax as it was."""
    version = neutral((manifest.get("versions") or {}).get("ecjax", "?"))
    version = "".join(c for c in version if c.isalnum() or c in ".+-")
    own = (
        "@software{ecjax,\n"
        "  title = {ecjax: which Earth embeddings are better together},\n"
        "  author = {{The ecjax authors}},\n"
        "  year = {2026},\n"
        f"  version = {{{version}}}\n}}"
    )
    return f"{PAPER}\n\n{own}\n"


def section(manifest: Mapping[str, Any], text: str) -> list[str]:
    """Both, to be copied."""
    parts = ['<section id="methods">', "<h2>Methods and references, to paste</h2>"]
    if text:
        parts.append(f'<pre class="copy prose" data-what="the methods">{safe_lines(text)}</pre>')
    parts.append(f'<pre class="copy" data-what="BibTeX">{safe_lines(bibtex(manifest))}</pre>')
    return [*parts, "</section>"]


def safe_lines(text: str) -> str:
    """Text as HTML, with its lines."""
    return "\n".join(map(safe, text.splitlines()))


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _data(manifest: Mapping[str, Any]) -> str:
    models = [
        f"{k} ({counted(n, 'column')})" for k, n in (manifest.get("embeddings") or {}).items()
    ]
    tasks = []
    for name, task in (manifest.get("tasks") or {}).items():
        what = f"{len(task['classes'])} classes" if task.get("classes") else ""
        if not what and len(task.get("targets") or []) > 1:
            what = f"{len(task['targets'])} targets"
        unit = task.get("transform", "none")
        unit = f"{unit} of the target" if unit != "none" else ""
        told = ", ".join(filter(None, (f"{task['rows']:,} rows", what, unit)))
        tasks.append(f"{name} ({told})")
    if not models or not tasks:
        return ""
    return (
        f"We evaluated sets of {counted(len(models), 'embedding')}, {_listed(models)}, on "
        f"{counted(len(tasks), 'task')}, {_listed(tasks)}, and their complementarity after van der "
        "Plas et al. (2026)."
    )


def _kinds(manifest: Mapping[str, Any]) -> set[str]:
    return {str(task.get("kind")) for task in (manifest.get("tasks") or {}).values()}


def _fits(manifest: Mapping[str, Any]) -> str:
    probe = (manifest.get("arguments") or {}).get("probe")
    if probe:
        return f"Every set's concatenated columns were probed by the function {probe}."
    names = {"regression": "ridge regression", "classification": "multinomial logistic regression"}
    fits = [words for kind, words in names.items() if kind in _kinds(manifest)]
    return f"Every set's concatenated columns were probed by {_listed(fits)}." if fits else ""


def _folds(manifest: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    if "folds" not in given:
        return ""
    split = str(given.get("split", "random"))
    seeds, first = int(given.get("seeds", 1)), int(given.get("seed", 42))
    how = SPLITS.get(split, split)
    if split == "spatial":
        how = f"as whole blocks of the map, some {given.get('block_km', 100):g} km wide"
        if given.get("buffer_km"):
            how += f", with rows within {given['buffer_km']:g} km of a fold left out of training"
    number = f"{int(given['folds'])} folds" if given["folds"] and split != "column" else "folds"
    seeded = f"seed {first}" if seeds == 1 else f"seeds {first} to {first + seeds - 1}"
    return f"Rows were dealt to {number} {how} ({seeded})."


def _penalties(manifest: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    swept = [str(key) for key in manifest.get("swept") or []]
    also = f" Results are given for every value of {_listed(swept)}." if swept else ""
    names = [("regression", "ridge_lambda", "λ"), ("classification", "logistic_c", "C")]
    used = [(key, letter) for kind, key, letter in names if kind in _kinds(manifest)]
    if manifest["protocol"] != "strict":
        values = [f"{letter} = {_values(given.get(key), '1')}" for key, letter in used]
        return (
            "Columns and targets were standardised over the whole table; penalties were fixed"
            f" ({_listed(values)}).{also}" if values else also
        )  # fmt: skip
    grids = [f"{letter} from {_values(given.get(key), GRIDS[key])}" for key, letter in used]
    inner = given.get("inner_folds")
    groups = f"{inner} groups" if inner else "5 groups for ridge, 3 for logistic regression"
    if inner == 0:
        groups = "each remaining fold a group"
    banded = ", with a λ of its own for each embedding" if given.get("penalty") == "banded" else ""
    return (
        "Columns were scaled by the training rows of each fit, and penalties chosen for every "
        f"task, set and fold by inner cross-validation ({groups}): {_listed(grids)}{banded}.{also}"
    )


def _values(values: Any, otherwise: str) -> str:
    if values is None:
        return otherwise
    values = values if isinstance(values, (list, tuple)) else [values]
    return _listed([f"{value:g}" for value in values])


def _index(manifest: Mapping[str, Any]) -> str:
    strict = manifest.get("protocol") == "strict"
    single = (
        "the single model that was best on the other folds"
        if strict
        else "the member with the best mean score"
    )
    return (
        "The complementarity index of a set is (score − score of its best single) / (perfect score "
        f"− score of its best single), against {single}; scores are R² or accuracy, and eci_pooled "
        "compares the losses of all out-of-fold predictions together."
    )


def _intervals(manifest: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    tasks = [task for task in (manifest.get("tasks") or {}).values() if "unit" in task]
    kind = str(given.get("interval", ""))
    if not tasks or not kind:
        return ""
    how = INTERVALS.get(kind, kind).format(bootstraps=int(given.get("bootstraps") or 0))
    redone = ", penalties chosen anew" if given.get("bootstrap_choices") == "redo" else ""
    units = {str(task["unit"]): [] for task in tasks}
    for task in tasks:
        units[str(task["unit"])].append(int(task["units"]))
    told = []
    for unit, counts in units.items():
        least, most = min(counts), max(counts)
        fewest = "" if least == most else f"{least:,} to "
        told.append(fewest + counted(most, unit))
    questions = list(dict.fromkeys(str(t["question"]) for t in tasks if t.get("question")))
    about = f" They speak about {_listed(questions)}." if questions else ""
    return (
        f"Intervals are of {100 * float(given.get('confidence', 0.95)):.4g} %, {how}{redone}, with "
        f"{_listed(told)} per task taken to be independent.{about}"
    )


def _tests(manifest: Mapping[str, Any]) -> str:
    adjusted = "adjusted by Benjamini and Hochberg over sets and tasks"
    if manifest.get("protocol") == "strict":
        return (
            "That a set beats every one of its members was tested by an intersection–union test on "
            f"the same losses, one-sided, {adjusted}."
        )
    return (
        "That a set beats its best single was tested over the folds of the first seed (Wilcoxon's "
        f"signed-rank test, one-sided), {adjusted}."
    )


def _made(manifest: Mapping[str, Any]) -> str:
    versions = manifest.get("versions") or {}
    if not versions:
        return ""
    told = [f"{name} {version}" for name, version in versions.items()]
    where = ", ".join(str(manifest[key]) for key in ("device", "precision") if key in manifest)
    return f"Computed with {_listed(told)}" + (f" ({where})." if where else ".")
