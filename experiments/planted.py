"""Planted worlds for `coverage.py`: rows of embeddings and targets whose true gains are known.

A world's rows are drawn anew as often as asked. Each task of a draw has targets of its own on the
same embeddings, with coefficients in random directions, so that all tasks of a world have the same
true gains. Axes: n rows, p columns, q latent variables, c classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Drawn(NamedTuple):
    """Rows of a world.

    Attributes:
      embeddings: name → (n, p).
      targets: of each task, (n, t), or (n,) labels.
      places: lat and lon (n,) in degrees, where there are any.
    """

    embeddings: dict[str, np.ndarray]
    targets: list[np.ndarray]
    places: Mapping[str, np.ndarray] = {}


@dataclasses.dataclass(frozen=True)
class World:
    """One planted world, and how many rows and columns it is seen by.

    Attributes:
      kind: which of the functions below makes it.
      rows: n.
      widths: p of a and of b; of all four embeddings in the kind `four`, of up to four in `equal`.
      r2: share of the targets' variance that the latent variables explain.
      share: of the explained variance, in `complementary` and `four`, what only b explains.
      tail: of the residuals, "normal" or "t4", Student's t with four degrees of freedom.
      targets: of a task.
      classes: 0 for regression; else each row's label is the largest of so many targets.
      logistic_c: of the fits to classes; None: chosen inside.
      tasks: of one draw.
      folds: of an evaluation.
      times: as many draws as others this world needs for a mean as sure.
    """

    kind: str
    rows: int
    widths: tuple[int, ...] = (12, 12)
    r2: float = 0.5
    share: float = 0.3
    tail: str = "normal"
    targets: int = 1
    classes: int = 0
    logistic_c: float | None = 0.1
    tasks: int = 20
    folds: int = 10
    times: int = 1
    same = False

    @property
    def arguments(self) -> dict:
        """Of `ecjax.evaluate`."""
        fixed = self.classes and self.logistic_c is not None
        return {"logistic_c": [self.logistic_c]} if fixed else {}

    def draw(self, rng: np.random.Generator, rows: int) -> Drawn:
        """So many rows, with all that is random drawn anew."""
        embeddings, sources = KINDS[self.kind](self, rng, rows)
        drawn = []
        for _ in range(self.tasks):
            y = self._outputs(rng, sources, rows)
            drawn.append(y.argmax(1) if self.classes else y)
        return Drawn(embeddings, drawn)

    def _outputs(self, rng, sources, rows: int) -> np.ndarray:
        """(n, t) of unit variance: what the sources (variance, latent (n, q)) explain, and noise.

        Of several targets the directions are at right angles: at random angles, tasks would not
        have the same gains.
        """
        count = self.classes or self.targets
        y = np.zeros((rows, count))
        for variance, latent in sources:
            directions, _ = np.linalg.qr(rng.standard_normal((latent.shape[1], count)))
            y += np.sqrt(self.r2 * variance) * (latent @ directions)
        noise = rng.standard_normal(y.shape)
        if self.tail == "t4":
            noise = rng.standard_t(4, y.shape) / np.sqrt(2)
        return y + np.sqrt(1 - self.r2) * noise


def complementary(world: World, rng: np.random.Generator, rows: int):
    """a and b are independent, and each explains a part."""
    a, b = (rng.standard_normal((rows, p)) for p in world.widths)
    return {"a": a, "b": b}, [(1 - world.share, a), (world.share, b)]


def redundant(world: World, rng: np.random.Generator, rows: int):
    """a knows all that can be known; b is a again, in noise."""
    a = rng.standard_normal((rows, world.widths[0]))
    return {"a": a, "b": _copies(rng, a, world.widths[1], 0.7)}, [(1.0, a)]


def useless(world: World, rng: np.random.Generator, rows: int):
    """b is noise."""
    a, b = (rng.standard_normal((rows, p)) for p in world.widths)
    return {"a": a, "b": b}, [(1.0, a)]


def tied(world: World, rng: np.random.Generator, rows: int):
    """a and b are the same latent variables, in as much noise each."""
    latent = rng.standard_normal((rows, min(world.widths)))
    a, b = (_copies(rng, latent, p, 0.5) for p in world.widths)
    return {"a": a, "b": b}, [(1.0, latent)]


def none(world: World, rng: np.random.Generator, rows: int):
    """Nothing explains anything."""
    a, b = (rng.standard_normal((rows, p)) for p in world.widths)
    return {"a": a, "b": b}, []


def four(world: World, rng: np.random.Generator, rows: int):
    """a and b explain a part each; c is a again, in noise; d is noise."""
    a, b, d = (rng.standard_normal((rows, world.widths[i])) for i in (0, 1, 3))
    embeddings = {"a": a, "b": b, "c": _copies(rng, a, world.widths[2], 0.5), "d": d}
    return embeddings, [(1 - world.share, a), (world.share, b)]


def equal(world: World, rng: np.random.Generator, rows: int):
    """Embeddings are independent, and all columns explain alike: one λ for all is right."""
    blocks = [rng.standard_normal((rows, p)) for p in world.widths]
    sources = [(x.shape[1] / sum(world.widths), x) for x in blocks]
    return dict(zip("abcd", blocks, strict=False)), sources


def _copies(rng: np.random.Generator, of: np.ndarray, columns: int, noise: float) -> np.ndarray:
    """(n, columns) the columns (n, q) as often as they fit in, each time in other noise."""
    again = of[:, np.arange(columns) % of.shape[1]]
    return again + noise * rng.standard_normal(again.shape)


KINDS = {
    made.__name__: made for made in (complementary, redundant, useless, tied, none, four, equal)
}


def named_worlds() -> dict[str, World]:
    """All worlds of the study by name."""
    found = {}
    for kind in ("complementary", "redundant", "useless", "tied"):
        for rows in (200, 800, 3000):
            for widths in ((12, 12), (64, 128)):
                name = f"{kind} {widths[0]} + {widths[1]} n = {rows}"
                found[name] = World(kind, rows, widths)
    more = {
        "heavy tails": World("complementary", 800, tail="t4", times=4),
        "heavy tails useless": World("useless", 800, tail="t4", times=4),
        "four blocks": World("four", 800, (12,) * 4),
        "four blocks of 64": World("four", 800, (64,) * 4),
        "many targets": World("complementary", 800, targets=10, tasks=5),
        "many targets tied": World("tied", 800, targets=10, tasks=5),
        "R² = 0.1": World("complementary", 800, r2=0.1),
        "R² = 0.9": World("complementary", 800, r2=0.9),
        "no signal": World("none", 800),
        "index of 0.06": World("complementary", 800, share=0.08),
        "20 folds": World("complementary", 800, folds=20),
        "20 folds tied": World("tied", 800, folds=20),
    }
    classes = {"r2": 0.7, "classes": 3, "tasks": 5}
    for kind in ("complementary", "redundant", "useless", "tied"):
        more[f"classes {kind}"] = World(kind, 800, **classes)
    for kind in ("complementary", "useless"):
        more[f"classes {kind} C = 0.01"] = World(kind, 800, logistic_c=0.01, **classes)
    chosen = World("complementary", 800, (64, 128), logistic_c=None, **classes)
    more["classes 64 + 128 C chosen"] = chosen
    return found | more
