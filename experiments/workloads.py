"""The work that `benchmark.py` measures: made-up rows of the paper's shapes, and the real crops.

Made-up rows come from `ecjax.world`, the demo's world, so that embeddings and targets are related
as real ones are: correlated columns, and a signal that every subset sees a part of.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold

import ecjax
from ecjax import subsets, world

FOLDS = 20
SEED = 42
RIDGE_ROWS = {"lc_stratified": 8829, "random": 8925, "biomass": 4575}  # the paper's
CROPS_ROWS = 3596
CROPS_FILES = {
    "alphaearth": "alphaearth_centre/cropharvest200_alphaearth_centre.csv",
    "geoclip": "geoclip/cropharvest200_geoclip.parquet",
}
CROPS_LABELS = "downstream_tasks/cropharvest_cleaned_global_threshold-200-sample.csv"
TRAITS = 40  # latent dimensions of `made_up`


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """Tasks on the same rows.

    Attributes:
      embeddings: name → (n, p).
      tasks: name → (n, t) targets or (n,) class labels.
    """

    name: str
    embeddings: dict[str, np.ndarray]
    tasks: dict[str, np.ndarray]

    @property
    def rows(self) -> int:
        return len(next(iter(self.embeddings.values())))

    @property
    def targets(self) -> int:
        return sum(y.shape[1] for y in self.tasks.values())

    @functools.cached_property
    def table(self) -> np.ndarray:
        """(n, p) standardised columns of all embeddings, float64."""
        return standardise(np.concatenate(list(self.embeddings.values()), axis=1))

    @functools.cached_property
    def subsets(self) -> dict[str, np.ndarray]:
        """Every subset as ecjax names it → its columns of `table`."""
        names = list(self.embeddings)
        starts = np.cumsum([0, *(x.shape[1] for x in self.embeddings.values())])
        found = subsets.requested(names)
        columns = [np.concatenate([np.arange(starts[i], starts[i + 1]) for i in s]) for s in found]
        return {subsets.name(s, names): c for s, c in zip(found, columns, strict=True)}

    @functools.cached_property
    def tables(self) -> dict[str, np.ndarray]:
        """Every subset → its own contiguous copy of its columns, cut before any clock runs."""
        return {
            name: np.ascontiguousarray(self.table[:, columns])
            for name, columns in self.subsets.items()
        }

    @functools.cached_property
    def targets_by_task(self) -> dict[str, np.ndarray]:
        """Regression tasks → (n, t) standardised targets."""
        return {name: standardise(y) for name, y in self.tasks.items()}

    @functools.cached_property
    def folds(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Training and held-out rows of each fold, as ecjax assigns them."""
        return list(KFold(FOLDS, shuffle=True, random_state=SEED).split(self.table))

    def as_tasks(self) -> dict[str, ecjax.Task]:
        """What `ecjax.evaluate` takes."""
        return {name: ecjax.Task(y, embeddings=self.embeddings) for name, y in self.tasks.items()}


def standardise(x: np.ndarray) -> np.ndarray:
    """z-scores over all rows (ddof 0), in float64."""
    x = x.astype(np.float64)
    return (x - x.mean(0)) / x.std(0)


def draw(name: str, rows: int) -> Sample:
    """A sample of the made-up world: four embeddings, 960 columns, and the paper's targets."""
    number = world.SAMPLES.index(name)
    places = world.make_world(SEED).draw(name, rows, np.random.default_rng([SEED, 2, number]))
    return Sample(name, places.embeddings, places.labels)


def ridge_samples(quick: bool) -> list[Sample]:
    """The paper's three regression samples: 9 + 1, 19 + 1 and 1 targets."""
    return [draw(name, rows // 8 if quick else rows) for name, rows in RIDGE_ROWS.items()]


@functools.cache
def crops() -> Sample:
    """The real crops with AlphaEarth and GeoCLIP, 18 classes."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "better_together"
    data = Path(os.environ.get("ECJAX_PAPER_DATA") or beside) / "data"
    if not data.is_dir():
        raise SystemExit("real crops need the paper's data: set ECJAX_PAPER_DATA to its folder")
    labels = pd.read_csv(data / CROPS_LABELS).set_index("index")["label_name"]
    tables = {}
    for model, file in CROPS_FILES.items():
        read = pd.read_csv if file.endswith("csv") else pd.read_parquet
        table = read(data / file).dropna().set_index("id")
        tables[model] = table[[c for c in table if str(c).startswith("emb_")]]
    ids = labels.index
    for table in tables.values():
        ids = ids[ids.isin(table.index)]
    embeddings = {model: table.loc[ids].to_numpy(float) for model, table in tables.items()}
    return Sample("crops", embeddings, {"crops": labels.loc[ids].to_numpy(str)})


def paper_study(quick: bool) -> dict[str, ecjax.Task]:
    """Six tasks, four samples and four embeddings of the paper's shapes."""
    samples = ridge_samples(quick)
    cropharvest = draw("cropharvest", CROPS_ROWS // 8 if quick else CROPS_ROWS)
    labels = np.array([f"class {c:02d}" for c in cropharvest.tasks["crops"]])
    samples.insert(0, Sample("cropharvest", cropharvest.embeddings, {"crops": labels}))
    return {name: task for sample in samples for name, task in sample.as_tasks().items()}


def made_up(
    rows: int, widths: Sequence[int], targets: int = 1, classes: int = 0, dtype: type = np.float32
) -> Sample:
    """Embeddings of any widths that see latent traits through noise, and targets made of those.

    Args:
      classes: with more than 0, the one target is labels of so many classes.
      dtype: of the embeddings; rows are made in parts, so that memory holds them once.
    """
    rng = np.random.default_rng([SEED, rows, *widths])
    maps = [rng.normal(size=(TRAITS, w)) / np.sqrt(TRAITS) for w in widths]
    weights = rng.normal(size=(TRAITS, classes or targets)) / np.sqrt(TRAITS)
    blocks = [np.empty((rows, w), dtype) for w in widths]
    y = np.empty((rows, classes or targets))
    for start in range(0, rows, 50_000):
        part = slice(start, start + 50_000)
        traits = rng.normal(size=(len(y[part]), TRAITS))
        for x, made_of in zip(blocks, maps, strict=True):
            x[part] = traits @ made_of + 0.7 * rng.standard_normal(x[part].shape, np.float32)
        y[part] = traits @ weights + 0.5 * rng.normal(size=y[part].shape)
    embeddings = {f"block{i}": x for i, x in enumerate(blocks)}
    if classes:
        labels = np.array([f"class {c:02d}" for c in (2 * y).argmax(1)])
        return Sample("made up", embeddings, {"labels": labels})
    return Sample("made up", embeddings, {"target": y})
