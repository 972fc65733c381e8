"""What an evaluation returns: its tables and its manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from ecjax import fragments, report, report_files, store
from ecjax.errors import neutral
from ecjax.places import Place, place_of
from ecjax.plots import Plots
from ecjax.progress import Silent

NOTHING = MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Result:
    """Tables of one run as pandas frames, with the columns that the README lists.

    Tables that were not asked for are None.
    """

    scores: pd.DataFrame
    folds: pd.DataFrame
    index: pd.DataFrame
    targets: pd.DataFrame
    manifest: dict[str, Any]
    predictions: pd.DataFrame | None = None
    gains: pd.DataFrame | None = None
    shapley: pd.DataFrame | None = None
    commonality: pd.DataFrame | None = None
    maps: pd.DataFrame | None = None
    strata: pd.DataFrame | None = None
    separation: pd.DataFrame | None = None
    points: pd.DataFrame | None = None

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The frames that there are, by name."""
        fields = (field.name for field in dataclasses.fields(self) if field.name != "manifest")
        found = {name: getattr(self, name) for name in fields}
        return {name: frame for name, frame in found.items() if frame is not None}

    @property
    def undefined(self) -> bool:
        """Whether a score or an index is null for a reason in the data."""
        numbers = (self.scores["score"], self.targets["score"], self.index["eci"])
        return any(column.isna().any() for column in numbers)

    @property
    def plot(self) -> Plots:
        """Figures, as matplotlib axes: `result.plot.index()`. Needs the extra `plot`."""
        return Plots(self.tables, self.manifest)

    def write(
        self, out: str | Path | Place, progress: Silent, ready: Mapping[str, Path] = NOTHING
    ) -> None:
        """Writes all tables; says what it took from the directory. Raises `store.WriteError`.

        Args:
          ready: as `store.write_results` takes it.
        """
        removed = store.write_results(out, self.tables, self.manifest, ready)
        if removed:
            page = f"; `ecjax report {neutral(place_of(out))}` writes the page anew"
            text = f"removed, because the earlier run's: {', '.join(removed)}"
            progress.say(text + page * (report_files.PAGE in removed))

    def __str__(self) -> str:
        return report.summary(self.tables, self.manifest)

    def _repr_html_(self) -> str:
        return fragments.of_result(self.tables, self.manifest)
