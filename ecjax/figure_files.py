"""Every figure of a directory of results as a file of its own, under names safe for any system."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ecjax import report_files, store
from ecjax.digest import Setting, Tables, setting_name, settings
from ecjax.errors import InputError, UsageError, neutral
from ecjax.places import place_of
from ecjax.remote import RemotePath

DOTS_PER_INCH = 200
NAME_LIMIT = 40
# No times in the files: equal tables give equal bytes.
METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None}}
# Of each task: figure → the table that it is of, and what it shows.
OF_TASK = {
    "scores": ("scores", "scores of the sets"),
    "gains": ("gains", "gains of the sets over each other"),
    "shapley": ("shapley", "shares of the models in the score"),
    "commonality": ("commonality", "what pairs share"),
    "map": ("maps", "map of the index"),
}


class Drawn(NamedTuple):
    """A figure that is to be drawn.

    Attributes:
      parts: what its file is named after.
      about: what it shows.
      draw: returns matplotlib Axes.
    """

    parts: tuple[str, ...]
    about: str
    draw: Callable[[], Any]


def write(directory: str | os.PathLike, ending: str) -> list[Path | RemotePath]:
    """Draws all figures and writes them to `figures/`; returns the paths.

    Args:
      directory: of results of `evaluate`, `overlap` or `scale`.
      ending: "png" or "pdf".

    Raises:
      ecjax.InputError: the directory holds no whole results, or none that there is a figure of.
      ecjax.UsageError: matplotlib is not there.
      store.WriteError: the figures cannot be written.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(f"--format={ending} needs matplotlib: pip install 'ecjax[plot]'")
    tables, manifest = store.read_results(directory)
    figures, taken = {}, set()
    for drawn in planned(tables, manifest):
        with contextlib.suppress(UsageError):  # nothing in it is defined
            content = _content(drawn.draw(), ending)
            figures[_free(_safe(drawn.parts), taken)] = drawn.about, content
    if not figures:
        raise InputError(f"{place_of(directory)}: holds no table that there is a figure of.")
    return report_files.replace_figures(directory, ending, figures)


def planned(tables: Tables, manifest: Mapping[str, Any]) -> Iterator[Drawn]:
    """The figures of the tables that there are; not each has something to draw."""
    if "overlap" in tables:
        for sample in dict.fromkeys(tables["overlap"]["sample"]):
            about = f"overlap of the embeddings, rows of {sample}"
            yield _drawn("overlap", about, (sample,), tables, manifest, sample=sample)
    if "scale" in tables:
        yield _drawn("scale", "how targets differ with distance", (), tables, manifest)
    if "index" not in tables:
        return
    views = settings(tables, manifest)
    for number, setting in enumerate(views, start=1):
        first = (f"setting{number}",) if len(views) > 1 else ()
        for kind, about, names, chosen in _of_setting(setting, tables):
            chosen = {**chosen, "setting": setting.values}
            about += f", {setting_name(setting, neutral)}" if setting.values else ""
            yield _drawn(kind, about, (*first, *names), tables, manifest, **chosen)


def _of_setting(
    setting: Setting, tables: Tables
) -> Iterator[tuple[str, str, tuple[str, ...], dict[str, str]]]:
    """Kind, what it shows, names and arguments of each figure of one setting."""
    yield "index", "index of the sets on all tasks", (), {}
    for task in setting.tasks:
        name = {"task": task.name}
        for kind, (table, what) in OF_TASK.items():
            if table in tables:
                yield kind, f"{what} of {task.name}", (task.name,), name
        strata = tables.get("strata")
        own = [] if strata is None else strata["by"][strata["task"] == task.name]
        for by in dict.fromkeys(own):
            about = f"index of {task.name} by {by}"
            yield "strata", about, (task.name, by), {**name, "by": by}


def _drawn(
    kind: str,
    about: str,
    names: tuple[str, ...],
    tables: Tables,
    manifest: Mapping[str, Any],
    **chosen: Any,
) -> Drawn:
    def draw() -> Any:
        from ecjax import figures  # here, because it needs matplotlib

        return getattr(figures, kind)(tables, manifest, **chosen)

    return Drawn((*names, kind), about, draw)


def _content(axes: Any, ending: str) -> bytes:
    """The file of the figure that some Axes are part of."""
    from ecjax import figures

    held = io.BytesIO()
    options = {"dpi": DOTS_PER_INCH, "bbox_inches": "tight", "metadata": METADATA[ending]}
    with figures.quietly():
        axes.figure.savefig(held, format=ending, **options)
    return held.getvalue()


def _safe(parts: tuple[str, ...]) -> str:
    """A file name of letters, digits and hyphens; what is left of names that have any."""
    texts = [re.sub("[^A-Za-z0-9_]+", "-", part).strip("-")[:NAME_LIMIT] for part in parts]
    return "-".join(text or "unnamed" for text in texts)


def _free(name: str, taken: set[str]) -> str:
    """The name, or with a number behind it; some systems know no difference of case."""
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free.casefold())
    return free
