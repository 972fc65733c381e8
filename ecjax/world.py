"""A made-up world of places, whose embeddings and labels follow known laws.

Every place has latent traits of three kinds: `climate` (smooth on the globe), `terrain` (varies
faster) and `surface` (what a pixel shows, different from place to place). Each embedding sees some
of them through a random linear map with noise; each target is made of some of them with noise. So
which embeddings complete each other on which task is decided here, and the expected loss of a probe
can be computed on as many fresh places as one likes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ecjax.arrays import Task

KINDS = {"climate": 10, "terrain": 14, "surface": 24}  # number of latent traits
SPACING_KM = {"climate": 4000.0, "terrain": 1200.0}
EARTH_RADIUS_KM = 6371.0
WAVES = 64
BANDS = (-90, -30, 0, 30, 90)  # of latitude, strata of every task
CLASSES = 18


@dataclasses.dataclass(frozen=True)
class Model:
    """An embedding model: its width and what it sees.

    Attributes:
      sees: the share of the traits of each kind, as an interval, so that models overlap in part.
      private: traits of its own that serve no task.
      noise: of every column; small, so that the width is not the number of dimensions.
    """

    width: int
    sees: dict[str, tuple[float, float]]
    private: int
    noise: float = 0.05


# Names and widths are the paper's.
MODELS = {
    "alphaearth": Model(64, {"surface": (0.0, 0.7), "climate": (0.0, 0.4)}, private=10),
    "tessera": Model(128, {"surface": (0.4, 1.0)}, private=30),
    "geoclip": Model(512, {"climate": (0.0, 1.0), "terrain": (0.3, 1.0)}, private=60),
    "satclip": Model(256, {"climate": (0.2, 1.0), "terrain": (0.0, 0.5)}, private=40),
}
# task: sample, number of targets, weights of the kinds of traits, noise
TASKS = {
    "crops": ("cropharvest", 1, {"surface": 1.0, "climate": 0.8}, 0.0),
    "biomass": ("biomass", 1, {"surface": 1.0, "climate": 0.25}, 0.5),
    "land_cover": ("lc_stratified", 9, {"surface": 1.0, "climate": 0.2}, 0.4),
    "bioclimatic": ("random", 19, {"climate": 1.0, "terrain": 0.3}, 0.3),
    "pop_density": ("lc_stratified", 1, {"surface": 0.6, "terrain": 0.6}, 1.0),
    "road_distance": ("random", 1, {"surface": 0.7, "climate": 0.5, "terrain": 0.5}, 0.6),
}
SAMPLES = tuple(dict.fromkeys(sample for sample, *_ in TASKS.values()))
CLASS_SHARPNESS = 2.5
# Targets that are drawn as log(1 + amount), less this.
LOG_MEANS = {"pop_density": 6.0}


@dataclasses.dataclass(frozen=True)
class Places:
    """Rows drawn from the world: coordinates, embeddings (n, p) and labels of each task."""

    lat: np.ndarray
    lon: np.ndarray
    embeddings: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class World:
    """The laws: made once from a seed, then places are drawn as often as wanted."""

    waves: dict[str, tuple[np.ndarray, ...]]
    maps: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]

    def draw(self, sample: str, rows: int, rng: np.random.Generator) -> Places:
        """Draws places of a sample, with all embeddings and the sample's tasks."""
        xyz = rng.normal(size=(rows, 3))
        xyz /= np.linalg.norm(xyz, axis=1, keepdims=True)
        traits = np.concatenate(
            [
                np.cos(xyz @ self.waves[kind][0] + self.waves[kind][1]) @ self.waves[kind][2]
                if kind in self.waves
                else rng.normal(size=(rows, count))
                for kind, count in KINDS.items()
            ],
            axis=1,
        )
        embeddings = {name: self._embed(name, model, traits, rng) for name, model in MODELS.items()}
        labels = {
            name: self._label(name, traits, noise, rng)
            for name, (where, _, _, noise) in TASKS.items()
            if where == sample
        }
        lat = np.degrees(np.arcsin(np.clip(xyz[:, 2], -1, 1)))
        lon = np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0]))
        return Places(lat, lon, embeddings, labels)

    def _embed(self, name: str, model: Model, traits: np.ndarray, rng) -> np.ndarray:
        own = rng.normal(size=(len(traits), model.private))
        clear = np.concatenate([traits, own], axis=1) @ self.maps[name]
        noise = model.noise * rng.normal(size=clear.shape)
        return (clear + noise).astype(np.float32)

    def _label(self, task: str, traits: np.ndarray, noise: float, rng) -> np.ndarray:
        signal = traits @ self.weights[task]
        if task == "crops":
            return (CLASS_SHARPNESS * signal + rng.gumbel(size=signal.shape)).argmax(1)
        return signal + noise * rng.normal(size=signal.shape)


def make_world(seed: int) -> World:
    """The laws of a world: smooth fields, embedding maps and target weights."""
    rng = np.random.default_rng([seed, 0])
    waves = {}
    for kind, spacing in SPACING_KM.items():
        direction = rng.normal(size=(3, WAVES)) * EARTH_RADIUS_KM / spacing
        phase = rng.uniform(0, 2 * np.pi, WAVES)
        mixture = rng.normal(size=(WAVES, KINDS[kind])) * np.sqrt(2 / WAVES)
        waves[kind] = (direction, phase, mixture)
    maps = {name: _map(model, rng) for name, model in MODELS.items()}
    weights = {}
    for name, (_, targets, parts, _) in TASKS.items():
        columns = CLASSES if name == "crops" else targets
        weight = np.concatenate(
            [
                parts.get(kind, 0.0) * rng.normal(size=(count, columns)) / np.sqrt(count)
                for kind, count in KINDS.items()
            ]
        )
        weights[name] = weight
    return World(waves, maps, weights)


def _map(model: Model, rng: np.random.Generator) -> np.ndarray:
    """(traits + private, width) random map from what a model sees to its columns."""
    seen = []
    for kind, count in KINDS.items():
        low, high = model.sees.get(kind, (0.0, 0.0))
        share = (np.arange(count) + 0.5) / count
        seen.append((low <= share) & (share < high))
    seen = np.concatenate([*seen, np.ones(model.private, bool)])
    return seen[:, None] * rng.normal(size=(len(seen), model.width)) / np.sqrt(seen.sum())


def as_tasks(drawn: dict[str, Places]) -> dict[str, Task]:
    """The tasks of `TASKS`, in order, from one draw of every sample."""
    tasks = {}
    for name, (sample, *_) in TASKS.items():
        places = drawn[sample]
        labels, transform = places.labels[name], "none"
        if name in LOG_MEANS:
            labels, transform = np.expm1(labels + LOG_MEANS[name]), "log1p"
        tasks[name] = Task(
            labels,
            embeddings=places.embeddings,
            kind="classification" if name == "crops" else "regression",
            lat=places.lat,
            lon=places.lon,
            transform=transform,
            strata={"lat": (places.lat, BANDS)},
        )
    return tasks
