"""What a run is asked to do: the flags of `evaluate`, checked once."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ecjax.errors import UsageError

# Asking for another value is refused, never ignored.
AVAILABLE = {
    "protocol": ("paper", "strict"),
    "split": ("random", "stratified", "group", "spatial", "hash", "column"),
    "penalty": ("shared", "banded"),
    "control": ("", "permuted"),
    "interval": ("ratio", "bootstrap", "nested", "refit"),
    "bootstrap_choices": ("keep", "redo"),
    "bootstrap_unit": ("auto", "row", "block", "group"),
    "map_by": ("auto", "cell", "group", "region"),
    "precision": ("auto", "float64", "float32"),
    "require_platform": ("", "any", "cpu", "gpu", "tpu"),
}
UNITS = {"spatial": "block", "group": "group"}  # of a split; of all others "row"
REPLICATED = {"bootstrap": 10_000, "refit": 200}  # kinds of intervals: replicates that do well
FEWEST_REFITS = 20  # whose standard deviation is known to a sixth
REPEATING = ("refit", "nested")  # kinds of intervals that repeat fits
BLOCKS_KM = (0.01, 20_000.0)  # least and largest side of a block
LEAST = {  # of the whole numbers
    "folds": 2, "seeds": 1, "seed": 0, "max_subset_size": 0, "inner_folds": 0, "bootstraps": 0,
}  # fmt: skip
ALIKE = "split=column, and split=group with folds=0, deal the rows alike for every seed"
PENALTIES = ("ridge_lambda", "logistic_c")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags of `evaluate` under their own names.

    Attributes:
      folds, seeds, seed: k folds; seed i is `seed` + i. No folds, with `split` "group": leave one
        group out. With `split` "column" the column says how many folds there are.
      split, block_km, buffer_km: how rows are dealt to folds, see `splits`; the side of a block,
        and, with "spatial", how far from a fold's rows the training rows must be.
      ridge_lambda, logistic_c: penalties. Under `paper` several are swept, and the default is 1;
        under `strict` they are the grid, and None stands for those of `inner`.
      control: "permuted": every set again with permuted members, see `control`.
      inner_folds: under `strict`, groups of inner folds; 0: each remaining fold its own; None: as
        `inner.INNER_FOLDS`.
      logistic_tolerance: on the gradient norm of the mean objective.
      interval, confidence: kind and level of intervals, see `intervals`.
      bootstraps: replicates, for intervals that are made from some.
      bootstrap_choices: whether refits "keep" the penalties of the original folds, or "redo" their
        choice.
      bootstrap_unit: what counts as independent in them, see `units`; "auto" follows the split.
      map_by, map_km: what the parts of maps are, see `maps`, and the side of their cells; 0: no
        maps of cells; None: by the number of rows.
      subsets: wanted sets, names joined by `+`; empty: all.
      max_subset_size: 0: no cap.
      precision: "float64", "float32" (ridge regression refined in float64), or "auto", which
        chooses by the device, see `precision.resolve`.
      stream: whether the rows pass by, batch by batch, see `stream_evaluate`; a study that does
        not fit into memory is streamed where its split lets it.
      passes: of a stream; 1: there are no intervals and predictions.
      max_memory_gib: budget; 0: 70 % of what the device has.
      profile: a directory for a trace by JAX's profiler; empty: none.
      shard: "i/N": part i of N of the cells alone, see `processes`; empty: all.
      coordinator, num_processes, process_id: the processes that share the run, see
        `processes.join`; None: as JAX finds them in a job, else this one.
      probe: a function in the place of ridge and logistic regression, see `probe`; no flag.
    """

    protocol: str = "strict"
    folds: int = 20
    seeds: int = 1
    seed: int = 42
    split: str = "random"
    block_km: float = 100.0
    buffer_km: float = 0.0
    penalty: str = "shared"
    control: str = ""
    ridge_lambda: tuple[float, ...] | None = None
    logistic_c: tuple[float, ...] | None = None
    inner_folds: int | None = None
    logistic_tolerance: float = 1e-5
    interval: str = "ratio"
    bootstraps: int = 0
    bootstrap_choices: str = "keep"
    bootstrap_unit: str = "auto"
    confidence: float = 0.95
    subsets: tuple[str, ...] = ()
    max_subset_size: int = 0
    precision: str = "auto"
    map_by: str = "auto"
    map_km: float | None = None
    predictions: bool = False
    stream: bool = False
    passes: int = 2
    max_memory_gib: float = 0.0
    require_platform: str = ""
    profile: str = ""
    shard: str = ""
    coordinator: str = ""
    num_processes: int | None = None
    process_id: int | None = None
    probe: Callable | None = None

    def __post_init__(self):
        for name, values in AVAILABLE.items():
            _check_choice(name, getattr(self, name), values)
        if self.probe is not None and not callable(self.probe):
            raise UsageError(f"probe={self.probe!r}: give a function, see ecjax/probe.py")
        if self.probe is not None and self.penalty == "banded":
            raise UsageError("penalty=banded is for ridge regression; a probe takes one penalty")
        if self.penalty == "banded" and not self.strict:
            raise UsageError("penalty=banded chooses by inner folds; add --protocol=strict")
        if self.inner_folds is not None and not self.strict:
            raise UsageError(
                f"inner_folds={self.inner_folds}: only --protocol=strict has them; leave it out"
            )
        for name, least in LEAST.items():
            if name == "inner_folds" and self.inner_folds is None:
                continue
            if (name, self.split, self.folds) != ("folds", "group", 0):
                _check_whole(name, getattr(self, name), least)
        if self.inner_folds == 1:
            raise UsageError("inner_folds=1 leaves no row to fit to; give 0 or at least 2")
        for name in PENALTIES:
            if getattr(self, name) is None and not self.strict:
                object.__setattr__(self, name, (1.0,))
            values = getattr(self, name)
            if values is None:
                continue
            if not values or len(set(values)) < len(values):
                raise UsageError(f"{name}: give one or more different values, not {values}")
            for value in values:
                _check_positive(name, value)
        for name in ("num_processes", "process_id"):
            if getattr(self, name) is not None:
                _check_whole(name, getattr(self, name), 0 if name == "process_id" else 1)
        if self.passes not in (1, 2):
            raise UsageError(f"passes={self.passes!r}: give 2, or 1 for scores without intervals")
        if self.passes == 1 and self.predictions:
            raise UsageError("predictions are made in the second pass; leave passes=1 out")
        _check_positive("logistic_tolerance", self.logistic_tolerance)
        _check_split(self)
        _check_map(self)
        if self.interval in REPLICATED and not self.bootstraps:
            raise UsageError(
                f"interval={self.interval} is made from replicates; give their number, as in "
                f"bootstraps={REPLICATED[self.interval]}"
            )
        if self.bootstraps and self.interval not in REPLICATED:
            raise UsageError(
                f"bootstraps={self.bootstraps}: interval={self.interval} has no replicates; give "
                "--interval=bootstrap or refit, or leave bootstraps out"
            )
        if self.interval == "refit" and self.bootstraps < FEWEST_REFITS:
            raise UsageError(
                f"bootstraps={self.bootstraps}: interval=refit is made from how replicates differ; "
                f"give {FEWEST_REFITS} or more, as in bootstraps={REPLICATED['refit']}"
            )
        if self.redoes_choices:
            _check_redone(self)
        if self.repeats_fits and self.probe is not None:
            raise UsageError(
                f"interval={self.interval} repeats ridge fits, and there is a probe of your own; "
                "use interval=ratio or bootstrap"
            )
        if not isinstance(self.confidence, float) or not 0 < self.confidence < 1:
            raise UsageError(f"confidence={self.confidence!r}: give a share such as 0.95")
        if self.max_memory_gib:
            _check_positive("max_memory_gib", self.max_memory_gib)

    @property
    def repeats_fits(self) -> bool:
        """Whether intervals are made from fits that are repeated."""
        return self.interval in REPEATING

    @property
    def redoes_choices(self) -> bool:
        """Whether penalties are chosen anew before fits are repeated."""
        return self.bootstrap_choices == "redo"

    @property
    def one_dealing(self) -> bool:
        """Whether every seed deals the rows alike."""
        return self.split == "column" or (self.split == "group" and not self.folds)

    @property
    def unit(self) -> str:
        """What counts as independent: "row", "block" or "group"."""
        wanted = self.bootstrap_unit
        return UNITS.get(self.split, "row") if wanted == "auto" else wanted

    @property
    def strict(self) -> bool:
        return self.protocol == "strict"

    def seed_list(self) -> tuple[int, ...]:
        return tuple(self.seed + i for i in range(self.seeds))


def from_arguments(arguments: Mapping[str, Any]) -> Settings:
    """Settings from keyword arguments; lists and single numbers are both taken.

    Raises:
      UsageError: an unknown argument, one that the split makes no use of, or a value out of range.
    """
    known = {field.name for field in dataclasses.fields(Settings)}
    values = {}
    for name, value in arguments.items():
        if name not in known:
            raise UsageError(f"{name} is unknown; there are {', '.join(sorted(known))}")
        values[name] = value
    _check_belongs(values)
    if values.get("bootstraps"):
        values.setdefault("interval", "bootstrap")
    for name in PENALTIES:
        if values.get(name) is not None:
            values[name] = tuple(float(v) for v in _listed(values[name]))
    if "subsets" in values:
        wanted = values["subsets"]
        wanted = wanted.split(",") if isinstance(wanted, str) else _listed(wanted)
        values["subsets"] = tuple(text.strip() for text in wanted if text.strip())
    return Settings(**values)


def sweep(settings: Settings, study: Mapping[str, Iterable]) -> list[tuple[dict, Settings]]:
    """Every combination of swept values, as (swept keys with their values, settings).

    Args:
      study: the `[sweep]` table of a study file, or empty. A key may be swept there or by a flag.

    Under `strict` a penalty's values are grids, and told as text: "1,10".

    Raises:
      UsageError: a key swept in both places, or one that changes nothing, or grids without
        `strict`.
    """
    swept: dict[str, tuple] = {key: tuple(values) for key, values in study.items()}
    for name in PENALTIES:
        values = getattr(settings, name)
        if settings.strict:
            if name in swept and values is not None:
                raise UsageError(f"{name} is swept by the study file and given by flag; keep one")
            continue
        if any(isinstance(value, tuple) for value in swept.get(name, ())):
            raise UsageError(f"[sweep] {name}: lists of grids need --protocol=strict")
        if len(values) > 1:
            if name in swept:
                raise UsageError(f"{name} is swept by the study file and by the flag; keep one")
            swept[name] = values
    if "folds" in swept:
        _check_belongs({"folds": swept["folds"], "split": settings.split})
    combinations = []
    for values in itertools.product(*swept.values()):
        setting = dict(zip(swept, values, strict=True))
        changes = {
            key: tuple(map(float, _listed(value))) if key in PENALTIES else int(value)
            for key, value in setting.items()
        }
        if settings.strict:
            setting |= {key: grid_text(changes[key]) for key in PENALTIES if key in setting}
        chosen = dataclasses.replace(settings, **changes)
        if "seed" in setting and not chosen.strict and chosen.one_dealing:
            raise UsageError(f"seed is swept, but {ALIKE}; sweep something else")
        combinations.append((setting, chosen))
    return combinations


def _check_belongs(given: Mapping[str, Any]) -> None:
    """Refuses arguments that the split makes no use of."""
    split = given.get("split", Settings.split)
    blocks = split == "spatial" or given.get("bootstrap_unit") == "block"
    if "block_km" in given and not blocks:
        raise UsageError(
            "block_km is for split=spatial and bootstrap_unit=block; give one of them, or leave it "
            "out"
        )
    if "buffer_km" in given and split != "spatial":
        raise UsageError("buffer_km is for split=spatial; give --split=spatial, or leave it out")
    if "map_km" in given and given.get("map_by") in ("group", "region"):
        raise UsageError("map_km is for cells of the map; leave it out, or give map_by=cell")
    if "folds" in given and split == "column":
        raise UsageError("folds: with split=column the column says which there are; leave it out")


def _check_split(settings: Settings) -> None:
    low, high = BLOCKS_KM
    side, buffer = settings.block_km, settings.buffer_km
    if not _is_number(side) or not low <= side <= high:
        raise UsageError(f"block_km={side!r}: give a number from {low:g} to {high:g}")
    if not _is_number(buffer) or not 0 <= buffer <= high:
        raise UsageError(f"buffer_km={buffer!r}: give a number from 0 to {high:g}")
    if settings.seeds > 1 and not settings.strict and settings.one_dealing:
        raise UsageError(f"seeds={settings.seeds}: {ALIKE}; leave it out")


def _check_map(settings: Settings) -> None:
    low, high = BLOCKS_KM
    side = settings.map_km
    none = side == 0 and _is_number(side) and settings.map_by != "cell"
    if side is None or none:
        return
    if not _is_number(side) or not low <= side <= high:
        raise UsageError(
            f"map_km={side!r}: give a number from {low:g} to {high:g}, or 0 for no maps of cells"
        )


def _check_redone(settings: Settings) -> None:
    redo = "bootstrap_choices=redo chooses penalties anew in every refit"
    if settings.interval != "refit":
        raise UsageError(
            f"{redo}, and interval={settings.interval} has no refits; give --interval=refit "
            f"--bootstraps={REPLICATED['refit']}, or leave bootstrap_choices out"
        )
    if not settings.strict:
        raise UsageError(
            f"{redo}, and under protocol=paper they are fixed; give --protocol=strict, or leave "
            "bootstrap_choices out"
        )


def grid_text(grid: Iterable[float]) -> str:
    """A grid as a swept column tells it: "0.1,1,10"."""
    return ",".join(repr(float(value)).removesuffix(".0") for value in grid)


def _listed(value: Any) -> list:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _check_choice(name: str, value: Any, values: tuple[str, ...]) -> None:
    if value in values:
        return
    accepted = ", ".join(v for v in values if v)
    raise UsageError(f"{name}={value} is unknown; accepted: {accepted}")


def _check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**32 - 2**16:
        more = "; 0, leave one group out, is for split=group" if name == "folds" else ""
        raise UsageError(f"{name}={value!r}: give a whole number of at least {least}{more}")


def _check_positive(name: str, value: Any) -> None:
    if not _is_number(value) or value <= 0:
        raise UsageError(f"{name}={value!r}: give a number above 0")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
