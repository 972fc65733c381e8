"""The map of the index: cells in an equal-area projection over the coastlines of the Earth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.transforms import Bbox

from ecjax import coastlines
from ecjax import figures_base as base
from ecjax.digest import SIGNIFICANCE
from ecjax.errors import UsageError
from ecjax.projection import densified, equal_earth, outline
from ecjax.rounding import number

MARGIN = 0.08  # of the width of what is drawn, on each side
LEAST_DEGREES = 8.0  # that a view is high and wide
WORLD = 200.0  # degrees of longitude from which on the whole Earth is shown
STRONG, PALE = 0.9, 0.35  # of the strongest cell; nothing is written on it
BELOW, ABOVE = 0.75, 0.4  # inches
EDGES = ["lat_min", "lat_max", "lon_min", "lon_max"]
GRID = (1, 2, 5, 10, 20, 30)  # degrees between lines


def map(
    tables: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    task: str,
    subset: str | None = None,
    target: str | None = None,
    setting: tuple = (),
    ax: Axes | None = None,
) -> Axes:
    """Map of a set's index by region, cropped to where the regions are.

    Colours are `eci_pooled` (blue: fusing helps; orange: it hurts), pale where its interval holds
    zero; a dot marks an adjusted p below 0.05 for either; hatched grey has no interval, as there
    are too few rows. Regions without edges are circles, sized by rows.

    Args:
        subset: the set; None: the one with the best index on the whole task.
        target: one target; None: all together.
    """
    rows = base.rows_of(tables, manifest, "maps", task, setting, target)
    subset = subset or base.best_subset(tables, manifest, setting, task, rows["subset"])
    rows = rows[(rows["subset"] == subset) & rows["lat"].notna() & rows["lon"].notna()]
    if not len(rows):
        raise UsageError("nothing to draw: the table maps has no place of this set")
    cells = rows[EDGES].notna().all(axis=1).to_numpy()
    central, box = _view(rows, cells)
    shapes = [_cell(row, central) for row in rows[cells].itertuples()]
    west, south, east, north = _frame(box, central)
    wide = base.WIDTH - 0.7
    high = float(np.clip(wide * (north - south) / (east - west), 1.5, 6.0))
    size = base.WIDTH, high + ABOVE + BELOW
    ax = base.own_axes(ax, size, 0.5, 0.2, ABOVE, BELOW)
    ax.set_aspect("equal", anchor="NW")
    ax.set_xlim(west, east)
    ax.set_ylim(south, north)
    _land(ax, central)
    known = (rows["eci_pooled"].notna() & rows["eci_low"].notna()).to_numpy()
    limit = base.limit_of(rows["eci_pooled"].where(known).to_numpy(dtype=float))
    _draw_cells(ax, rows[cells], shapes, limit)
    _draw_circles(ax, rows[~cells], central, limit)
    _dots(ax, rows, central)
    _coasts(ax, central)
    _graticule(ax, box, central)
    _key(ax, limit, _words(~known, cells))
    what = f"{base.name(task)}" + (f", {base.name(target)}" if target else "")
    metric = rows["metric"].iloc[0]
    by = "" if metric == "r2" else f" by {metric}"
    base.title(ax, f"{what}: index of {base.set_name(subset)}{by}")
    return ax


def _view(rows: pd.DataFrame, cells: np.ndarray) -> tuple[float, tuple[float, ...]]:
    """The central meridian, and the box of all regions in degrees: south, north, west, east."""
    edges = rows[EDGES].to_numpy(dtype=float)
    places = rows[["lat", "lat", "lon", "lon"]].to_numpy(dtype=float)
    south, north, west, east = np.where(cells[:, None], edges, places).T
    start, length = _window(west, east)
    if length > WORLD:
        return 0.0, (south.min(), north.max(), -180.0, 180.0)
    central = np.round(start + length / 2)
    more = max(LEAST_DEGREES - length, 0) / 2
    box = max(south.min(), -90.0), min(north.max(), 90.0), start - more, start + length + more
    if box[1] - box[0] < LEAST_DEGREES:
        middle = np.clip((box[0] + box[1]) / 2, -86.0, 86.0)
        box = middle - LEAST_DEGREES / 2, middle + LEAST_DEGREES / 2, *box[2:]
    return float(central), box


def _window(west: np.ndarray, east: np.ndarray) -> tuple[float, float]:
    """Where the shortest arc of longitudes that holds all regions starts, and how long it is."""
    order = np.argsort(west)
    starts, reached = west[order], np.maximum.accumulate(east[order])
    gaps = np.append(starts[1:], starts[0] + 360) - reached
    widest = int(np.argmax(gaps))
    start = starts[(widest + 1) % len(starts)]
    return float(start), float(np.clip(360 - gaps[widest], 0, 360))


def _near(lon: np.ndarray, central: float) -> np.ndarray:
    """Longitudes as within 180 degrees of the central one."""
    return (np.asarray(lon) - central + 180) % 360 - 180 + central


def _cell(row: Any, central: float) -> np.ndarray:
    half = (row.lon_max - row.lon_min) / 2
    middle = float(_near((row.lon_min + row.lon_max) / 2, central))
    return outline(row.lat_min, row.lat_max, middle - half, middle + half, central)


def _frame(box: tuple[float, ...], central: float) -> tuple[float, float, float, float]:
    """The limits of the view on the plane, with a margin."""
    points = outline(*box, central)
    (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
    margin = MARGIN * max(east - west, north - south)
    _, pole = equal_earth(90.0, 0.0)
    south, north = max(south - margin, -pole * 1.02), min(north + margin, pole * 1.02)
    return west - margin, south, east + margin, north


def _land(ax: Axes, central: float) -> None:
    """The land in the view, as a faint area."""
    areas = []
    for ring in coastlines.land():
        for piece in coastlines.cut(ring, central - 180):
            ends = np.roll(piece, -1, axis=0)
            edges = [
                densified(a[::-1], b[::-1])[:-1, ::-1] for a, b in zip(piece, ends, strict=True)
            ]
            area = _projected(np.concatenate(edges), central)
            if _seen(ax, area):
                areas.append(area)
    _draw(ax, areas, True, facecolor=base.faded(base.LINE, 0.45), linewidth=0, zorder=1)


def _coasts(ax: Axes, central: float) -> None:
    lines = []
    for ring in coastlines.land():
        for coast in coastlines.coasts(ring):
            lon = _near(coast[:, 0], central)
            breaks = np.flatnonzero(np.abs(np.diff(lon)) > 180) + 1
            for line in np.split(np.stack([lon, coast[:, 1]], 1), breaks):
                lines.append(_projected(line, central))
    lines = [line for line in lines if len(line) > 1 and _seen(ax, line)]
    _draw(ax, lines, False, edgecolor=base.SOFT, facecolor="none", linewidth=0.6, zorder=4)


def _draw(ax: Axes, lines: Sequence[np.ndarray], closed: bool, **looks: Any) -> None:
    """Lines or areas as one path, which is one short element in an SVG."""
    parts = [np.concatenate([line, line[:1]]) if closed else line for line in lines]
    if not parts:
        return
    codes = [Path.MOVETO if i == 0 else Path.LINETO for part in parts for i in range(len(part))]
    # Not add_patch, which would widen the limits.
    patch = PathPatch(Path(np.concatenate(parts), codes), **looks)
    patch.set_clip_path(ax.patch)
    ax.add_artist(patch)


def _projected(line: np.ndarray, central: float) -> np.ndarray:
    return np.stack(equal_earth(line[:, 1], line[:, 0], central), 1)


def _seen(ax: Axes, points: np.ndarray) -> bool:
    """Whether the box of some points meets the view."""
    low, high = points.min(axis=0), points.max(axis=0)
    (west, east), (south, north) = ax.get_xlim(), ax.get_ylim()
    return bool(low[0] < east and high[0] > west and low[1] < north and high[1] > south)


def _faces(rows: pd.DataFrame, limit: float) -> list[tuple[float, ...]]:
    """Colours of regions; a light one where there is no interval."""
    empty = base.faded(base.LINE, 0.35)
    columns = (rows[name].to_numpy(dtype=float) for name in ("eci_pooled", "eci_low", "eci_high"))
    return [
        empty if np.isnan([value, low]).any()
        else base.tint(value, limit, PALE if low <= 0 <= high else STRONG)
        for value, low, high in zip(*columns, strict=True)
    ]  # fmt: skip


def _draw_cells(ax: Axes, rows: pd.DataFrame, shapes: list[np.ndarray], limit: float) -> None:
    """Cells on the background's colour, so that land below does not change theirs."""
    if not len(rows):
        return
    faces, edge = _faces(rows, limit), base.faded(base.SOFT, 0.6)
    _draw(ax, shapes, True, facecolor=base.BACK, linewidth=0, zorder=1.5)
    ax.add_collection(
        PolyCollection(shapes, facecolors=faces, edgecolors=edge, linewidths=0.4, zorder=2),
        autolim=False,
    )
    empty = rows[["eci_pooled", "eci_low"]].isna().any(axis=1).to_numpy()
    bare = [shape for shape, each in zip(shapes, empty, strict=True) if each]
    if bare:
        ax.add_collection(
            PolyCollection(bare, facecolors="none", edgecolors=base.faded(base.SOFT, 0.5),
                           linewidths=0, hatch="/////", zorder=2.5), autolim=False,
        )  # fmt: skip


def _draw_circles(ax: Axes, rows: pd.DataFrame, central: float, limit: float) -> None:
    """Regions without edges as circles whose areas are their rows, small ones in front."""
    if not len(rows):
        return
    x, y = _centres(rows, central)
    size = 12 + 240 * rows["n_rows"].to_numpy(dtype=float) / rows["n_rows"].max()
    order = np.argsort(-size, kind="stable")
    faces = np.array(_faces(rows, limit))[order]
    for colours, width in ((base.BACK, 0), (faces, 0.8)):
        ax.scatter(x[order], y[order], s=size[order], c=colours, edgecolors=base.SOFT,
                   linewidths=width, zorder=4.5)  # fmt: skip


def _dots(ax: Axes, rows: pd.DataFrame, central: float) -> None:
    """A dot where the index is surely above or below zero, as on maps of the climate."""
    sure = (rows["p_adjusted"] < SIGNIFICANCE) | (rows["p_worse_adjusted"] < SIGNIFICANCE)
    x, y = _centres(rows[sure], central)
    ax.scatter(x, y, s=5, c=base.TEXT, linewidths=0, zorder=6)


def _centres(rows: pd.DataFrame, central: float) -> tuple[np.ndarray, np.ndarray]:
    """The middle of a cell's edges, or the mean place of a region without."""
    middle = {key: (rows[f"{key}_min"] + rows[f"{key}_max"]) / 2 for key in ("lat", "lon")}
    lat, lon = (middle[key].fillna(rows[key]).to_numpy(dtype=float) for key in middle)
    return equal_earth(lat, _near(lon, central), central)


def _graticule(ax: Axes, box: tuple[float, ...], central: float) -> None:
    """Parallels and meridians as faint lines, with their degrees at the left and below."""
    (west, east), (south, north) = ax.get_xlim(), ax.get_ylim()
    step = next((s for s in GRID if max(box[1] - box[0], (box[3] - box[2]) / 2) / s <= 6), 30)
    lats = np.arange(-90, 91, step)
    lons = np.arange(np.ceil((central - 180) / step), np.floor((central + 180) / step) + 1) * step
    lines = [_projected(densified((-90, lon), (90, lon))[:, ::-1], central) for lon in lons]
    lines += [_projected(np.array([(central - 180, lat), (central + 180, lat)]), central)
              for lat in lats]  # fmt: skip
    _draw(ax, lines, False, edgecolor=base.LINE, facecolor="none", linewidth=0.5, zorder=0.5)
    heights = equal_earth(lats, 0.0)[1]
    shown = (heights > south) & (heights < north) & (np.abs(lats) < 90)
    ax.set_yticks(heights[shown])
    ax.set_yticklabels([_degrees(lat, "SN") for lat in lats[shown]], parse_math=False)
    fine = np.linspace(-90, 90, 721)
    below = np.interp(south, equal_earth(fine, 0.0)[1], fine)
    feet = equal_earth(below, lons, central)[0]
    shown = (feet > west) & (feet < east) & (box[3] - box[2] < WORLD)  # else they would meet
    ax.set_xticks(feet[shown])
    wrapped = _near(lons[shown], 0.0)
    ax.set_xticklabels([_degrees(lon, "WE") for lon in wrapped], parse_math=False)


def _degrees(value: float, sides: str) -> str:
    return f"{abs(value):g}°{sides[int(value > 0)] if value and abs(value) < 180 else ''}"


def _words(empty: np.ndarray, cells: np.ndarray) -> str:
    """What the colours are, and dots, hatches and circles where there are any."""
    words = ["index (eci_pooled); pale: interval holds 0; dot: adjusted p < 0.05"]
    words += ["; hatched: too few rows"] * bool((empty & cells).any())
    words += ["; grey: too few rows"] * bool((empty & ~cells).any())
    words += ["; areas: rows"] * bool((~cells).any())
    return "".join(words)


def _key(ax: Axes, limit: float, words: str) -> None:
    """The scale of colours below the map, and what else is to know."""
    scale = ax.inset_axes((0, 0, 1, 1))
    scale.set_axes_locator(_strip(ax))
    base.own_axes(scale, (0, 0), 0, 0, 0, 0)
    edges = np.linspace(-limit, limit, 42)
    bars = [[(a, 0), (b, 0), (b, 1), (a, 1)] for a, b in zip(edges[:-1], edges[1:], strict=True)]
    faces = [base.tint((a + b) / 2, limit, STRONG) for a, b in zip(edges[:-1], edges[1:],
                                                                   strict=True)]  # fmt: skip
    scale.add_collection(
        PolyCollection(bars, facecolors=faces, linewidths=0, antialiaseds=False), autolim=False
    )
    scale.set_xlim(-limit, limit)
    scale.set_ylim(0, 1)
    scale.set_yticks([])
    scale.set_xticks([-limit, 0, limit])
    ends = [number(-limit, 2, True), "0", number(limit, 2, True)]
    scale.set_xticklabels(ends, parse_math=False, color=base.SOFT, fontsize=base.SMALL)
    base.write(scale, 1.06, 0.5, words, transform=scale.transAxes, fontsize=base.SMALL,
               color=base.SOFT)  # fmt: skip


def _strip(ax: Axes) -> Any:
    """Where the scale of colours is: so many points below the axes, whatever their size."""

    def place(_: Axes, renderer: Any) -> Bbox:
        box, point = ax.get_window_extent(), ax.figure.dpi / 72
        strip = Bbox.from_bounds(box.x0, box.y0 - 30 * point, 150 * point, 8 * point)
        return strip.transformed(ax.figure.transFigure.inverted())

    return place
