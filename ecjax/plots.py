"""`result.plot`: the figures of a result, as matplotlib axes. Needs the extra `plot`."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from ecjax.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MISSING = "figures need matplotlib: pip install 'ecjax[plot]'"


@dataclasses.dataclass(frozen=True)
class Plots:
    """Figures of some tables, see `ecjax.figures`.

    Each returns matplotlib axes, drawn into `ax` where that is given, else into a new figure:
    `result.plot.index().figure.savefig("index.png")`. A notebook shows them as they are. `task` may
    be left out, for the first; `setting`, of a sweep, is as in `(("ridge_lambda", 10.0),)`.

    Raises, all of them:
        ecjax.UsageError: matplotlib is not there, or there is nothing to draw.
    """

    tables: Mapping[str, pd.DataFrame] = dataclasses.field(repr=False)
    manifest: Mapping[str, Any] = dataclasses.field(repr=False)

    def index(self, setting: tuple = (), ax: Axes | None = None) -> Axes:
        """Heat map of the index, sets × tasks."""
        return _figures().index(self.tables, self.manifest, setting, ax)

    def scores(self, task: str | None = None, setting: tuple = (), ax: Axes | None = None) -> Axes:
        """Scores of the best sets with intervals, over a matrix of their members."""
        return self._of_task("scores", task, setting=setting, ax=ax)

    def gains(self, task: str | None = None, setting: tuple = (), ax: Axes | None = None) -> Axes:
        """What adding each model to each set gains."""
        return self._of_task("gains", task, setting=setting, ax=ax)

    def shapley(self, task: str | None = None, setting: tuple = (), ax: Axes | None = None) -> Axes:
        """Each model's share in the score of all."""
        return self._of_task("shapley", task, setting=setting, ax=ax)

    def commonality(
        self, task: str | None = None, setting: tuple = (), ax: Axes | None = None
    ) -> Axes:
        """What each pair's score is made of: unique to either, shared, synergy."""
        return self._of_task("commonality", task, setting=setting, ax=ax)

    def map(
        self,
        task: str | None = None,
        subset: str | None = None,
        target: str | None = None,
        setting: tuple = (),
        ax: Axes | None = None,
    ) -> Axes:
        """Map of a set's index by region; of the best set where none is named."""
        options = {"subset": subset, "target": target, "setting": setting, "ax": ax}
        return self._of_task("map", task, **options)

    def strata(
        self,
        by: str,
        task: str | None = None,
        subset: str | None = None,
        setting: tuple = (),
        ax: Axes | None = None,
    ) -> Axes:
        """A set's index within each stratum."""
        return self._of_task("strata", task, by=by, subset=subset, setting=setting, ax=ax)

    def overlap(
        self, measure: str = "cka_debiased", sample: str | None = None, ax: Axes | None = None
    ) -> Axes:
        """Matrix of a measure of overlap, of `ecjax.overlap`."""
        return _figures().overlap(self.tables, self.manifest, measure, sample, ax)

    def scale(self, ax: Axes | None = None) -> Axes:
        """How targets differ with distance, of `ecjax.scale`."""
        return _figures().scale(self.tables, self.manifest, ax)

    def _of_task(self, figure: str, task: str | None, **options: Any) -> Axes:
        draw = getattr(_figures(), figure)
        tasks = self.manifest.get("tasks") or {}
        if task is None and not tasks:
            raise UsageError("name the task: these results list none")
        task = next(iter(tasks)) if task is None else task
        return draw(self.tables, self.manifest, task, **options)


def _figures() -> Any:
    """The module that draws; imported here, because `import ecjax` must work without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(MISSING)
    from ecjax import figures

    return figures
