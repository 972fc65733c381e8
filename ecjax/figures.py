"""The figures of a run, by name. Needs matplotlib: `pip install 'ecjax[plot]'`.

All take the tables and the manifest of a run, and most a task and one `setting` of the swept keys
(as `digest.Setting.values`; empty: the first). They return matplotlib axes, of a new figure where
`ax` is None, and raise `UsageError` where there is nothing to draw.
"""

from ecjax.figures_base import quietly
from ecjax.figures_map import map
from ecjax.figures_ranges import commonality, gains, shapley, strata
from ecjax.figures_scale import scale
from ecjax.figures_sets import index, overlap, scores
from ecjax.figures_svg import inline_svg

__all__ = [
    "commonality",
    "gains",
    "index",
    "inline_svg",
    "map",
    "overlap",
    "quietly",
    "scale",
    "scores",
    "shapley",
    "strata",
]
