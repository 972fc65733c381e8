"""`ecjax report DIR --format=…`: tables for a paper as LaTeX or Markdown, figures as files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecjax import figure_files, latex, markdown, store
from ecjax.digest import Tables
from ecjax.errors import UsageError
from ecjax.layout import about, sheets
from ecjax.places import place_of
from ecjax.remote import RemotePath
from ecjax.report_files import FIGURE_FORMATS, PAPER_TABLES

FORMATS = ("html", *PAPER_TABLES, *FIGURE_FORMATS)
READ = ("scores", "folds", "index", "targets")


def check_format(name: str) -> None:
    """Raises UsageError if there is no such format."""
    if name not in FORMATS:
        raise UsageError(f"format={name}: unknown; accepted: {', '.join(FORMATS)}")


def write(directory: str | os.PathLike, name: str) -> list[Path | RemotePath]:
    """Writes the tables or figures of a directory of results, and returns the paths.

    Args:
      directory: that `ecjax evaluate` wrote; for figures also one of `overlap` or `scale`.
      name: one of FORMATS but "html".

    Raises:
      ecjax.InputError: the directory holds no whole results.
      ecjax.UsageError: figures are asked for, and matplotlib is not there.
      store.WriteError: the files cannot be written.
    """
    if name in FIGURE_FORMATS:
        return figure_files.write(directory, name)
    text = render(*store.read_results(directory, READ), name)
    return place_of(directory).replace({PAPER_TABLES[name]: text.encode()})


def render(tables: Tables, manifest: Mapping[str, Any], name: str) -> str:
    """All tables of a run in one file's text; `name` is "latex" or "markdown"."""
    document = {"latex": latex.document, "markdown": markdown.document}[name]
    return document(*about(tables, manifest), sheets(tables, manifest))
