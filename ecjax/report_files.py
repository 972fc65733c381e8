"""What `ecjax report` puts beside a run's tables: the page, tables for papers, and figures.

`figures/figures.json` tells what each figure shows, and which files there are ecjax's own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Mapping
from pathlib import Path

from ecjax.errors import counted
from ecjax.places import Place, place_of
from ecjax.remote import RemotePath

PAGE = "report.html"
PAPER_TABLES = {"latex": "tables.tex", "markdown": "tables.md"}
FIGURES, FIGURE_LIST = "figures", "figures.json"
FIGURE_FORMATS = ("png", "pdf")


def replace_page(directory: str | os.PathLike, text: str) -> Path | RemotePath:
    """Writes `report.html` at once or not at all, and returns its path. Raises WriteError."""
    return place_of(directory).replace({PAGE: text.encode()})[0]


def replace_figures(
    directory: str | os.PathLike, ending: str, figures: Mapping[str, tuple[str, bytes]]
) -> list[Path | RemotePath]:
    """Writes figures of one format, removes its others of an earlier run, and lists them all.

    Args:
        directory: of the results.
        ending: one of FIGURE_FORMATS.
        figures: name, safe as a file's → what it shows, and the content.

    Returns:
        The paths of the figures.

    Raises:
        WriteError: the system refused to write.
    """
    place = place_of(directory)
    files = {f"{name}.{ending}": figure for name, figure in figures.items()}
    listed = _listed_figures(place)
    stale = [file for file in listed if file.endswith(f".{ending}") and file not in files]
    shown = {file: text for file, text in listed.items() if file not in stale}
    shown |= {file: text for file, (text, _) in files.items()}
    listing = json.dumps(dict(sorted(shown.items())), indent=2, ensure_ascii=False) + "\n"
    contents = {FIGURE_LIST: listing.encode()} | {file: data for file, (_, data) in files.items()}
    for file in stale:
        place.remove(f"{FIGURES}/{file}")
    return place.replace({f"{FIGURES}/{k}": data for k, data in contents.items()})[1:]


def remove(place: Place, there: Container[str]) -> list[str]:
    """Removes all of it, because the tables that it was made of go.

    Args:
        there: names of the files in the directory.

    Returns:
        The names of the files that were there, the figures in one entry.
    """
    removed = [file for file in (PAGE, *PAPER_TABLES.values()) if file in there]
    for file in removed:
        place.remove(file)
    return removed + _remove_figures(place)


def _remove_figures(place: Place) -> list[str]:
    there = place.files(FIGURES)
    own = [file for file in _listed_figures(place) if file in there]
    for file in own:
        place.remove(f"{FIGURES}/{file}")
    if FIGURE_LIST in there:
        place.remove(f"{FIGURES}/{FIGURE_LIST}")
    place.remove_folder(FIGURES)
    return [f"{FIGURES} ({counted(len(own), 'file')})"] if own else []


def _listed_figures(place: Place) -> dict[str, str]:
    """File → what it shows, of the figures that ecjax wrote; {} where the list is damaged."""
    try:
        listed = json.loads(place.read(f"{FIGURES}/{FIGURE_LIST}"))
    except (OSError, ValueError, RecursionError):
        return {}
    own = listed.items() if isinstance(listed, dict) else ()
    endings = tuple(f".{ending}" for ending in FIGURE_FORMATS)
    # The list may come from elsewhere; nothing outside the folder may be removed for it.
    return {k: str(v) for k, v in own if Path(k).name == k and k.endswith(endings)}
