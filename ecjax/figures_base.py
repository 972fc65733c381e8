"""What all figures share: colours, axes of their own size, names as text, dots with intervals.

Figures are matplotlib's, without pyplot, so that nothing global is touched. Colours are those of
the page by light; `figures_svg` makes them the page's variables, which know dark ones. Areas are
coloured by the strength of a colour over the background, for the same reason.
"""

from __future__ import annotations

import contextlib
import io
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from ecjax.digest import Setting, TaskView, at_setting, settings
from ecjax.errors import UsageError, neutral, quote

TEXT, SOFT, LINE, BACK = "#1c2430", "#5a6472", "#d8dde4", "#ffffff"
GAIN, LOSS = "#0072b2", "#d55e00"  # of Okabe and Ito's palette, told apart by the colour-blind
WIDTH = 7.6  # inches; 9 points are then 12.5 pixels on the page
SIZE, SMALL = 9.0, 8.0  # points
ROW = 0.24  # inches of a row that has a label
STRONGEST = 0.55  # of a coloured area below text, so that the text stays readable, dark or light
NAME_LETTERS, SET_LETTERS = 24, 38
LETTER = 0.66  # its width in sizes of the letter, a little on the safe side
METRICS = ("r2", "accuracy", "log_loss")  # the first that a table has is the one drawn
SLANTED, STEEP = 35.0, 60.0  # degrees of names above columns, wide or narrow ones
DOT = 0.2  # inches between models in a matrix beside rows


class Picture(Axes):
    """Axes that a notebook shows, though pyplot knows nothing of their figure."""

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        with quietly():
            self.figure.savefig(drawn, format="png", dpi=144, bbox_inches="tight")
        return drawn.getvalue()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings of letters that matplotlib's own font lacks, such as Chinese ones.

    In an SVG they are text, which the browser has fonts for; in a PNG boxes stand for them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def own_axes(
    ax: Axes | None, size: tuple[float, float], left: float, right: float, top: float, bottom: float
) -> Axes:
    """Given axes as they are, or new ones: (width, height) of the figure and margins in inches."""
    if ax is None:
        width, height = size
        box = (
            left / width,
            bottom / height,
            1 - (left + right) / width,
            1 - (top + bottom) / height,
        )
        ax = Figure(figsize=size, facecolor=BACK).add_axes(box, axes_class=Picture)
    ax.set_facecolor("none")
    for side in ax.spines.values():
        side.set_visible(False)
    ax.tick_params(length=0, colors=SOFT, labelsize=SMALL)
    return ax


def name(text: object, letters: int = NAME_LETTERS) -> str:
    """A name to draw: nothing unprintable, and cut where it takes more than so many letters."""
    shown = neutral(text)
    if width_of(shown) <= letters:
        return shown
    while shown and width_of(shown) > letters - 1:
        shown = shown[:-1]
    return shown + "…"


def set_name(subset: str, letters: int = SET_LETTERS + 10) -> str:
    """A set's name; each member cut, and how many more there are where all would be too long."""
    names = [name(member) for member in subset.split("+")]
    for shown in range(len(names), 0, -1):
        more = f" and {len(names) - shown} more" if shown < len(names) else ""
        text = "+".join(names[:shown]) + more
        if width_of(text) <= letters:
            break
    return text


def width_of(text: str) -> int:
    """Letters that a text is wide: East Asian ones are two."""
    return len(text) + sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)


def inches(texts: Sequence[str], size: float = SIZE) -> float:
    """The width that the widest of some texts may take."""
    return max((width_of(text) for text in texts), default=0) * LETTER * size / 72


def write(ax: Axes, x: float, y: float, text: str, **options: Any) -> None:
    """Text at a place of the data, never taken for mathematics."""
    options = {"fontsize": SIZE, "color": TEXT, "va": "center"} | options
    ax.text(x, y, text, parse_math=False, clip_on=False, **options)


def title(ax: Axes, text: str, pad: float = 8) -> None:
    """The title, from where the row labels begin."""
    words = ax.set_title(text, loc="left", fontsize=SIZE + 1, color=TEXT, parse_math=False, pad=pad)
    words.set_x(_margin(ax))


def note(ax: Axes, text: str, down: float) -> None:
    """Small print below the axes, `down` points below their edge."""
    ax.annotate(
        text, (_margin(ax), 0), xycoords="axes fraction", xytext=(0, -down),
        textcoords="offset points", va="top", fontsize=SMALL, color=SOFT, parse_math=False,
        annotation_clip=False, linespacing=1.4,
    )  # fmt: skip


def _margin(ax: Axes) -> float:
    """The left edge of a figure of its own, in widths of the axes; 0 in axes that were given."""
    if not isinstance(ax, Picture):
        return 0.0
    box = ax.get_position()
    return (0.1 / ax.figure.get_figwidth() - box.x0) / box.width


def row_labels(ax: Axes, positions: Sequence[float], texts: Sequence[str], **options: Any) -> None:
    ax.set_yticks(positions)
    ax.set_yticklabels(texts, parse_math=False, fontsize=SIZE, color=TEXT, **options)


def rows_below(ax: Axes, count: float) -> None:
    """Rows 0, 1, … from the top, and a light rule under none of them."""
    ax.set_ylim(count - 0.5, -0.5)


def value_axis(ax: Axes, label: str, zero: bool = True) -> None:
    """A horizontal axis with light lines, and a dark one at zero."""
    ax.grid(axis="x", color=LINE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xlabel(label, fontsize=SMALL, color=SOFT, parse_math=False, loc="right")
    if zero:
        ax.axvline(0, color=TEXT, linewidth=1, zorder=1.5)


def intervals(
    ax: Axes, values: np.ndarray, low: np.ndarray, high: np.ndarray, sure: np.ndarray,
    colours: np.ndarray, places: np.ndarray | None = None, upright: bool = False,
) -> None:  # fmt: skip
    """A dot with its interval in each row (or column, `upright`).

    Args:
        values, low, high: (m,); what is NaN is not drawn, and what lies below the limits of the
            axes, which must be set before, is an arrow at their edge.
        sure: (m,) whether the dot is filled.
        colours: (m,).
        places: (m,) of the rows; None: 0, 1, …
    """
    places = np.arange(len(values), dtype=float) if places is None else places
    known = np.isfinite(low) & np.isfinite(high)
    ends = np.stack([np.stack([low, high], 1), np.stack([places, places], 1)], 2)
    ends = ends[:, :, ::-1] if upright else ends
    lines = LineCollection(ends[known], colors=colours[known], linewidths=1.4, zorder=2)
    ax.add_collection(lines, autolim=False)
    x, y = (places, values) if upright else (values, places)
    faces = np.where(sure, colours, BACK)
    ax.scatter(x, y, s=30, c=faces, edgecolors=colours, linewidths=1.4, zorder=3)
    edge = (ax.get_ylim() if upright else ax.get_xlim())[0]
    away = values < edge
    if away.any():
        edges = np.full(away.sum(), edge)
        x, y = (places[away], edges) if upright else (edges, places[away])
        marker = "v" if upright else "<"
        ax.scatter(x, y, s=31, c=colours[away], marker=marker, linewidths=0, clip_on=False)


def limits(values: np.ndarray, zero: bool = True) -> tuple[float, float]:
    """The range of what is drawn, with a margin; zero is within it where asked for."""
    known = values[np.isfinite(values)]
    known = np.append(known, 0.0) if zero or not len(known) else known
    low, high = known.min(), known.max()
    margin = 0.04 * (high - low) or 0.05
    return low - margin, high + margin


def tint(value: float, limit: float, strongest: float = STRONGEST) -> tuple[float, ...]:
    """The colour of an area for a gain or a loss, the stronger the larger, full at the limit."""
    return faded(GAIN if value >= 0 else LOSS, strongest * min(abs(value) / limit, 1.0))


def faded(colour: str, strength: float) -> tuple[float, ...]:
    """A colour that lets the background through, from 0 to 1."""
    return to_rgba(colour, strength)


def limit_of(values: np.ndarray) -> float:
    """Where colours of an index reach their strongest: 95 % of the values, 0.5 at most."""
    known = np.abs(values[np.isfinite(values)])
    if not len(known):
        return 0.5
    return float(np.clip(np.ceil(np.quantile(known, 0.95) * 20) / 20, 0.05, 0.5))


def view_of(
    tables: Mapping[str, pd.DataFrame], manifest: Mapping[str, Any], setting: tuple
) -> Setting:
    """The digest of one setting; of the first where none is named."""
    views = settings(tables, manifest)
    for view in views:
        if not setting or view.values == tuple(setting):
            return view
    raise UsageError(f"no such setting: {setting!r}")


def task_view(
    tables: Mapping[str, pd.DataFrame], manifest: Mapping[str, Any], setting: tuple, task: str
) -> TaskView:
    needed = {key: tables[key] for key in ("index", "scores")}
    own = {key: frame[frame["task"] == task] for key, frame in needed.items()}
    if any(map(len, own.values())):  # a digest of all tasks would take far longer
        for view in view_of(own, manifest, setting).tasks:
            return view
    raise UsageError(f"no task {quote(task)} in these results")


def best_subset(
    tables: Mapping[str, pd.DataFrame], manifest: Mapping[str, Any], setting: tuple, task: str,
    known: Sequence[str],
) -> str:  # fmt: skip
    """Of the sets that a table knows, the fused one with the largest index on the whole task."""
    cells = [cell for cell in task_view(tables, manifest, setting, task).cells
             if cell.subset in set(known) and cell.value == cell.value]  # fmt: skip
    if not cells:
        raise UsageError(f"nothing to draw: no set of task {quote(task)} has an index; name one")
    return max(cells, key=lambda cell: cell.value).subset


def rows_of(
    tables: Mapping[str, pd.DataFrame], manifest: Mapping[str, Any], table: str, task: str,
    setting: tuple, target: str | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The rows of a table that are of one task, setting and target, in one metric.

    Raises:
        UsageError: there are none.
    """
    frame = tables.get(table)
    if frame is not None and len(frame):
        frame = at_setting(frame, setting or _first_setting(frame, manifest))
        frame = frame[frame["task"] == task]
        if "target" in frame.columns:
            frame = frame[frame["target"].isna() if target is None else frame["target"] == target]
        metric = next((each for each in METRICS if (frame["metric"] == each).any()), None)
        frame = frame[frame["metric"] == metric]
    if frame is None or not len(frame):
        raise UsageError(f"nothing to draw: the table {table} has no row of task {quote(task)}")
    return frame


def _first_setting(frame: pd.DataFrame, manifest: Mapping[str, Any]) -> tuple:
    """The swept keys of a table's first row, with their values."""
    keys = [key for key in manifest.get("swept") or [] if key in frame.columns]
    values = [None if pd.isna(frame[key].iloc[0]) else frame[key].iloc[0] for key in keys]
    return tuple(zip(keys, values, strict=True))


def models_of(manifest: Mapping[str, Any], subsets: Sequence[str]) -> list[str]:
    """The models of some sets, in the order of the study."""
    members = dict.fromkeys(member for subset in subsets for member in subset.split("+"))
    known = [model for model in manifest.get("embeddings") or {} if model in members]
    return list(dict.fromkeys([*known, *members]))


def membership(
    ax: Axes, subsets: Sequence[str], models: Sequence[str], upright: bool,
    places: Sequence[float] | None = None,
) -> None:  # fmt: skip
    """Which models each set has, as dots that a line joins: sets along x, models below each other.

    Args:
        upright: sets below each other instead, models along x.
        places: where the sets are; None: 0, 1, … as models always are.
    """
    places = range(len(subsets)) if places is None else places
    joined = []
    points: dict[bool, list] = {True: [], False: []}
    for place, subset in zip(places, subsets, strict=True):
        members = set(subset.split("+"))
        inside = [m for m, model in enumerate(models) if model in members]
        joined.append([(place, inside[0]), (place, inside[-1])])
        for m, model in enumerate(models):
            points[model in members].append((place, m))
    turn = -1 if upright else 1
    lines = [[point[::turn] for point in line] for line in joined]
    ax.add_collection(LineCollection(lines, colors=TEXT, linewidths=1.4, zorder=2), autolim=False)
    for member, dots in points.items():
        xy = np.array(dots, dtype=float).reshape(-1, 2)[:, ::turn]
        ax.scatter(*xy.T, s=26, c=TEXT if member else LINE, linewidths=0,
                   zorder=3 if member else 1)  # fmt: skip


def membership_beside(
    ax: Axes, subsets: Sequence[str], models: Sequence[str], places: Sequence[float] | None = None
) -> None:
    """Dots of the members to the left of rows, in place of labels, the models' names above.

    They take `DOT` inches for each model, and `heads` above.
    """
    share = DOT * len(models) / (ax.get_position().width * ax.figure.get_figwidth())
    beside = ax.inset_axes((-share, 0, share, 1))
    own_axes(beside, (0, 0), 0, 0, 0, 0)
    membership(beside, subsets, models, True, places)
    beside.set_xlim(-0.5, len(models) - 0.5)
    beside.set_ylim(ax.get_ylim())
    beside.set_yticks([])
    ax.set_yticks([])
    column_heads(beside, range(len(models)), [name(model) for model in models], STEEP)


def column_heads(ax: Axes, places: Sequence[float], texts: Sequence[str], angle: float) -> None:
    """Names above columns, level (0) or at an angle in degrees."""
    ax.xaxis.tick_top()
    ax.set_xticks(places)
    slant = {"rotation": angle, "ha": "left", "rotation_mode": "anchor"} if angle else {}
    ax.set_xticklabels(texts, parse_math=False, fontsize=SMALL, color=TEXT, **slant)


def heads(texts: Sequence[str], angle: float) -> float:
    """Inches that names above columns take."""
    return 0.2 + np.sin(np.radians(angle)) * inches(texts, SMALL)
