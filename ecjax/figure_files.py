"""Every figure of a directory of results as a file of its own, under names safe for any system."""

from __future__ import annotations

import importlib.util
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ecjax import store
from ecjax.digest import Setting, Tables, at_setting, setting_name, settings
from ecjax.errors import InputError, UsageError, neutral

DOTS_PER_INCH = 200
NAME_LIMIT = 40
# No times in the files: equal tables give equal bytes.
METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None}}
OF_TASK = ("scores", "gains", "shapley", "commonality")  # figures that are named as their tables


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


def write(directory: str | os.PathLike, ending: str) -> list[Path]:
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
        name = _free(_safe(drawn.parts), taken)
        figures[name] = drawn.about, _content(drawn.draw(), ending)
    if not figures:
        raise InputError(f"{directory}: holds no table that there is a figure of.")
    return store.replace_figures(directory, ending, figures)


def planned(tables: Tables, manifest: Mapping[str, Any]) -> Iterator[Drawn]:
    """The figures that the tables have rows for."""
    from ecjax import figures  # here, because it needs matplotlib

    if "overlap" in tables:
        for sample in dict.fromkeys(tables["overlap"]["sample"]):

            def draw(sample=sample):
                return figures.overlap(tables, manifest, sample=sample)

            yield Drawn(("overlap", sample), f"overlap of embeddings, rows of {sample}", draw)
    if "scale" in tables:
        yield Drawn(("scale",), "scale of targets", lambda: figures.scale(tables, manifest))
    if "index" not in tables:
        return
    views = settings(tables, manifest)
    for number, setting in enumerate(views, start=1):
        first = (f"setting{number}",) if len(views) > 1 else ()
        where = f", {setting_name(setting, neutral)}" if setting.values else ""
        for parts, about, draw in _of_setting(setting, tables, manifest):
            yield Drawn((*first, *parts), about + where, draw)


def _of_setting(setting: Setting, tables: Tables, manifest: Mapping[str, Any]) -> Iterator[Drawn]:
    from ecjax import figures

    def drawn(kind: str, about: str, *parts: str, **chosen: Any) -> Drawn:
        def draw():
            return getattr(figures, kind)(tables, manifest, setting=setting.values, **chosen)

        return Drawn((*parts, kind), about, draw)

    if setting.subsets:
        yield drawn("index", "index of all sets on all tasks")
    for task in setting.tasks:
        own = {
            name: frame[frame["task"] == task.name]
            for name, frame in ((n, at_setting(f, setting.values)) for n, f in tables.items())
            if "task" in frame.columns
        }
        for kind in OF_TASK:
            if kind in own and len(own[kind]):
                yield drawn(kind, f"{kind} of {task.name}", task.name, task=task.name)
        if "maps" in own and own["maps"]["eci_pooled"].notna().any():
            yield drawn("map", f"map of the index of {task.name}", task.name, task=task.name)
        for by in dict.fromkeys(own["strata"]["by"]) if "strata" in own else ():
            about = f"index of {task.name} by {by}"
            part = drawn("strata", about, task.name, task=task.name, by=by)
            yield part._replace(parts=(*part.parts, by))


def _content(axes: Any, ending: str) -> bytes:
    """The file of the figure that some Axes are part of."""
    held = io.BytesIO()
    axes.figure.savefig(
        held, format=ending, dpi=DOTS_PER_INCH, bbox_inches="tight", metadata=METADATA[ending]
    )
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
