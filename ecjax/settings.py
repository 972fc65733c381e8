"""What a run is asked to do: the flags of `evaluate`, checked once."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ecjax.errors import UsageError

# Values that later issues add; asking for one is refused, never ignored.
AVAILABLE = {
    "protocol": ("paper", "strict"),
    "split": ("random",),
    "penalty": ("shared",),
    "precision": ("auto", "float64", "float32"),
    "require_platform": ("", "any", "cpu", "gpu", "tpu"),
}
TO_COME = {
    "split": ("stratified", "group", "spatial", "hash", "column"),
    "penalty": ("banded",),
}
FLAGS_TO_COME = (
    "bootstraps", "confidence", "interval", "bootstrap_unit", "bootstrap_choices",
    "block_km", "buffer_km", "control", "probe", "stream", "shard", "coordinator",
    "num_processes", "process_id", "profile",
)  # fmt: skip
LEAST = {"folds": 2, "seeds": 1, "seed": 0, "max_subset_size": 0, "inner_folds": 0}  # whole numbers
PENALTIES = ("ridge_lambda", "logistic_c")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags of `evaluate` under their own names.

    Attributes:
      folds, seeds, seed: k folds; seed i is `seed` + i.
      ridge_lambda, logistic_c: penalties. Under `paper` several are swept, and the default is 1;
        under `strict` they are the grid, and None stands for those of `inner`.
      inner_folds: under `strict`, groups of inner folds; 0: each remaining fold its own; None: as
        `inner.INNER_FOLDS`.
      logistic_tolerance: on the gradient norm of the mean objective.
      subsets: wanted sets, names joined by `+`; empty: all.
      max_subset_size: 0: no cap.
      precision: "float64", "float32" (ridge regression refined in float64), or "auto", which
        chooses by the device, see `precision.resolve`.
      max_memory_gib: budget; 0: 70 % of what the device has.
    """

    protocol: str = "paper"
    folds: int = 20
    seeds: int = 1
    seed: int = 42
    split: str = "random"
    penalty: str = "shared"
    ridge_lambda: tuple[float, ...] | None = None
    logistic_c: tuple[float, ...] | None = None
    inner_folds: int | None = None
    logistic_tolerance: float = 1e-5
    subsets: tuple[str, ...] = ()
    max_subset_size: int = 0
    precision: str = "auto"
    predictions: bool = False
    max_memory_gib: float = 0.0
    require_platform: str = ""

    def __post_init__(self):
        for name, values in AVAILABLE.items():
            _check_choice(name, getattr(self, name), values)
        if self.inner_folds is not None and not self.strict:
            raise UsageError(
                f"inner_folds={self.inner_folds}: only --protocol=strict has them; leave it out"
            )
        for name, least in LEAST.items():
            if name != "inner_folds" or self.inner_folds is not None:
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
        _check_positive("logistic_tolerance", self.logistic_tolerance)
        if self.max_memory_gib:
            _check_positive("max_memory_gib", self.max_memory_gib)

    @property
    def strict(self) -> bool:
        return self.protocol == "strict"

    def seed_list(self) -> tuple[int, ...]:
        return tuple(self.seed + i for i in range(self.seeds))


def from_arguments(arguments: Mapping[str, Any]) -> Settings:
    """Settings from keyword arguments; lists and single numbers are both taken.

    Raises:
      UsageError: an unknown argument, one still to come, or a value out of range.
    """
    known = {field.name for field in dataclasses.fields(Settings)}
    values = {}
    for name, value in arguments.items():
        if name not in known:
            if name in FLAGS_TO_COME and not value:
                continue
            later = "is not there yet" if name in FLAGS_TO_COME else "is unknown"
            raise UsageError(f"{name} {later}; there are {', '.join(sorted(known))}")
        values[name] = value
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
      UsageError: a key swept in both places, or grids without `strict`.
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
    combinations = []
    for values in itertools.product(*swept.values()):
        setting = dict(zip(swept, values, strict=True))
        changes = {
            key: tuple(map(float, _listed(value))) if key in PENALTIES else int(value)
            for key, value in setting.items()
        }
        if settings.strict:
            setting |= {key: grid_text(changes[key]) for key in PENALTIES if key in setting}
        combinations.append((setting, dataclasses.replace(settings, **changes)))
    return combinations


def grid_text(grid: Iterable[float]) -> str:
    """A grid as a swept column tells it: "0.1,1,10"."""
    return ",".join(repr(float(value)).removesuffix(".0") for value in grid)


def _listed(value: Any) -> list:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _check_choice(name: str, value: Any, values: tuple[str, ...]) -> None:
    if value in values:
        return
    later = value in TO_COME.get(name, ())
    accepted = ", ".join(v for v in values if v)
    raise UsageError(
        f"{name}={value} is {'not there yet' if later else 'unknown'}; accepted: {accepted}"
    )


def _check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**32 - 2**16:
        raise UsageError(f"{name}={value!r}: give a whole number of at least {least}")


def _check_positive(name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise UsageError(f"{name}={value!r}: give a number above 0")
