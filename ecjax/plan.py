"""The plan of a run: which samples, seeds and subsets go into which compiled call.

A chunk is one call of `engine.study`. The whole study is one chunk where memory allows; else it is
cut by sample, then by seeds, then by subsets, none of which changes what is computed.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from ecjax import cost, engine, host, inner, lbfgs, logistic, nested_cost, refine, splits, subsets
from ecjax.align import AlignedTask
from ecjax.errors import InputError, UsageError
from ecjax.folds import Folds
from ecjax.gram import keeps_moments
from ecjax.precision import DeviceFacts, resolve
from ecjax.settings import Settings

GIB = 2**30
FLOAT = 8  # bytes
DEFAULT_SHARE = 0.7
LEAST_SAVING = 0.05  # of a piece's bytes, for which its seeds are halved
TIMED = ("cpu",)  # platforms that the rates of `cost` were measured on


@dataclasses.dataclass(frozen=True)
class Sample:
    """Tasks that share rows, embeddings and folds.

    Attributes:
      names: embeddings, in the study's order.
      regression, classification: the tasks.
    """

    names: tuple[str, ...]
    regression: tuple[AlignedTask, ...]
    classification: tuple[AlignedTask, ...]

    @property
    def tasks(self) -> tuple[AlignedTask, ...]:
        return (*self.regression, *self.classification)

    @property
    def rows(self) -> int:
        return len(self.tasks[0].ids)

    @property
    def blocks(self) -> list[np.ndarray]:
        return list(self.tasks[0].embeddings.values())

    @property
    def order(self) -> tuple[int, ...]:
        """Lattice order of the embeddings."""
        return subsets.lattice_order([x.shape[1] for x in self.blocks], self.names)

    @property
    def regression_targets(self) -> int:
        return sum(len(task.targets) for task in self.regression)

    def columns(self, task: AlignedTask) -> tuple[int, ...]:
        """Columns of the sample's regression targets that are this task's."""
        start = 0
        for other in self.regression:
            if other is task:
                return tuple(range(start, start + len(task.targets)))
            start += len(other.targets)
        return ()


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of one sample that is computed in one call.

    Attributes:
      sample: position of the sample.
      seeds: positions of the seeds.
      subsets: position tuples in the study's order.
    """

    sample: int
    seeds: tuple[int, ...]
    subsets: tuple[tuple[int, ...], ...]


class Work(NamedTuple):
    """What pieces take.

    Attributes:
      operations: floating-point operations, logistic fits at an assumed number of evaluations.
      seconds: estimated, without compiling; None on a device whose rates were never measured.
      bytes: of all arrays, if the pieces are computed in one call; an upper estimate.
    """

    operations: float
    seconds: float | None
    bytes: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """Samples and chunks of one setting.

    Attributes:
      samples: the tasks, grouped by rows.
      chunks: what each compiled call computes.
      folds: of each sample, for all seeds.
      subsets: of each sample, in the study's order.
      hat: those of them that take the hat route of ridge regression, whatever the chunk.
      settings: what was asked for.
      platform: of the device.
      precision: "float64" or "float32".
      budget: bytes that a call may use.
      at_once, fits_at_once: what is solved side by side, see `engine.Program`.
      choices: under `strict`, of each sample: what penalties are chosen from, by kind of task.
    """

    samples: tuple[Sample, ...]
    chunks: tuple[tuple[Piece, ...], ...]
    folds: tuple[Folds, ...]
    subsets: tuple[tuple[tuple[int, ...], ...], ...]
    hat: tuple[frozenset[tuple[int, ...]], ...]
    settings: Settings
    platform: str
    precision: str
    budget: float
    at_once: int
    fits_at_once: int
    choices: tuple[dict[str, inner.Choices], ...]

    def groups(self, piece: Piece, kind: str) -> int:
        """Under `strict`, groups of inner folds for a kind of task."""
        folds, asked = self.folds[piece.sample].count, self.settings.inner_folds
        return inner.group_count(folds, asked, kind) if self.settings.strict else 0

    @property
    def on_host(self) -> bool:
        """Whether ridge's Gram route runs on the host's BLAS."""
        return _on_host(self.platform, self.precision) and self.settings.probe is None

    def work(self, pieces: Iterable[Piece]) -> Work:
        """What these pieces take."""
        pieces = tuple(pieces)
        costs = [self._cost(piece) for piece in pieces]
        timed = self.platform in TIMED and self.precision == "float64"
        timed = timed and self.settings.probe is None
        seconds = sum(c.seconds for c in costs) if timed else None
        size = sum(self.bytes(piece) for piece in pieces)
        return Work(sum(c.operations for c in costs), seconds, size)

    def bytes(self, piece: Piece) -> float:
        """Bytes of a piece's arrays; an upper estimate."""
        sample, hat = self.samples[piece.sample], self.hat[piece.sample]
        beside = (self.at_once, self.fits_at_once)
        folds, predictions = self.folds[piece.sample], self.settings.predictions
        k, held = folds.count, _held(folds)
        if self.precision == "float32":
            return _refined_memory(sample, piece, k, beside, predictions, held)
        nested = None
        if self.settings.strict:
            groups, choices = self.groups(piece, "regression"), self.choices[piece.sample]
            own = any(choice.rows is not None for choice in choices.values())
            nested = k, groups, own
        size = _memory(sample, piece, hat, k, beside, self.on_host, predictions, held, nested)
        return size + self._choosing(piece)

    def _choosing(self, piece: Piece) -> float:
        """Bytes that the choice of C takes beside the fits of the outer folds; 0 under `paper`."""
        sample = self.samples[piece.sample]
        if not (self.settings.strict and sample.classification):
            return 0.0
        return (
            nested_cost.class_numbers(
                sample.rows,
                sum(x.shape[1] for x in sample.blocks),
                max(len(task.classes) for task in sample.classification),
                self.folds[piece.sample].count,
                self.groups(piece, "classification"),
                len(piece.subsets),
                self.choices[piece.sample]["classification"].grid.shape[2],
            )
            * FLOAT
        )

    def _cost(self, piece: Piece) -> cost.Cost:
        sample, folds, r = self.samples[piece.sample], self.folds[piece.sample], len(piece.seeds)
        k = folds.count
        lattice = _lattice(sample, piece.subsets)
        costs = []
        if sample.regression:
            parts = _parts(lattice, piece, self.hat[piece.sample])
            shape = sample.rows, sample.regression_targets, k, r
            if self.settings.strict:
                choices = self.choices[piece.sample]["regression"]
                penalties, own = choices.grid.shape[2], choices.rows is not None
                nested = self.groups(piece, "regression"), penalties, own
                banded = len(sample.regression) if self.settings.penalty == "banded" else 0
                costs.append(
                    nested_cost.nested_cost(self.on_host, banded, parts[0].lattice, *shape, *nested)
                )
            else:
                costs.append(cost.ridge_cost(*parts, *shape, self.on_host, _held(folds)))
            if self.precision == "float32":
                costs.append(cost.refinement_cost(lattice, *shape))
        widths = [w for w, group in logistic.solver_groups(lattice) for _ in group]
        evaluations = cost.logistic_evaluations(self.settings.logistic_tolerance)
        for task in sample.classification:
            shape = [sample.rows, len(task.classes), k, r]
            times = 1
            if self.settings.strict:  # one seed and one C after the other, and m + 1 fits a fold
                shape[2:] = k * (self.groups(piece, "classification") + 1), 1
                times = r * self.choices[piece.sample]["classification"].grid.shape[2]
            one = cost.logistic_cost(widths, *shape, self.fits_at_once, evaluations)
            costs.append(cost.Cost(times * one.operations, times * one.seconds))
        return cost.Cost(*(sum(part) for part in zip(*costs, strict=True)))

    def arguments(
        self, pieces: Iterable[Piece]
    ) -> tuple[tuple[engine.Program, ...], tuple[engine.SampleData, ...]]:
        """The programs and arrays that `engine.study` takes for a chunk."""
        pieces = tuple(pieces)
        programs = tuple(self.program(piece, self.settings.predictions) for piece in pieces)
        return programs, tuple(self.data(piece) for piece in pieces)

    def program(self, piece: Piece, predictions: bool) -> engine.Program:
        """The static part of a piece."""
        sample = self.samples[piece.sample]
        lattice = _lattice(sample, piece.subsets)
        gram, hat = _parts(lattice, piece, self.hat[piece.sample])
        return engine.Program(
            lattice=lattice,
            gram=gram,
            hat=hat,
            classes=tuple(len(task.classes) for task in sample.classification),
            on_host=self.on_host,
            predictions=predictions,
            at_once=self.at_once,
            fits_at_once=self.fits_at_once,
            tasks=tuple((c[0], c[-1] + 1) for c in map(sample.columns, sample.regression)),
            bands=sample.order if self.settings.penalty == "banded" else (),
            groups=(self.groups(piece, "regression"), self.groups(piece, "classification")),
            dtype=self.precision,
            probe=self.settings.probe,
        )

    def data(self, piece: Piece) -> engine.SampleData:
        """The arrays of a piece."""
        sample = self.samples[piece.sample]
        none = np.zeros((sample.rows, 0))
        folds, seeds = self.folds[piece.sample], list(piece.seeds)
        choices = {
            kind: jax.tree.map(lambda a: a[seeds], c)
            for kind, c in self.choices[piece.sample].items()
        }
        return engine.SampleData(
            blocks=tuple(sample.blocks[i] for i in sample.order),
            y=np.concatenate([none, *(task.y for task in sample.regression)], axis=1),
            labels=tuple(task.y for task in sample.classification),
            held_out=folds.held_out[seeds],
            scored=None if folds.scored is None else folds.scored[seeds],
            ridge=choices.get("regression"),
            logistic=choices.get("classification"),
        )


def group_samples(tasks: Iterable[AlignedTask], split: str = "random") -> tuple[Sample, ...]:
    """Groups tasks that share rows and folds, in order of first appearance."""
    groups: dict[tuple, list[AlignedTask]] = {}
    for task in tasks:
        groups.setdefault((task.sample, *splits.made_from(task, split)), []).append(task)
    return tuple(
        Sample(
            tuple(group[0].embeddings),
            tuple(task for task in group if task.kind == "regression"),
            tuple(task for task in group if task.kind == "classification"),
        )
        for group in groups.values()
    )


def make_plan(
    tasks: Sequence[AlignedTask],
    settings: Settings,
    device: jax.Device | DeviceFacts,
    route: str = "cheaper",
) -> Plan:
    """Plans one setting.

    Args:
      device: that the plan is for; it need not be there.
      route: of ridge regression: "cheaper", or "gram" or "hat" for all subsets, to compare them.

    Raises:
      InputError: rows that cannot be dealt to the folds as asked, or a memory budget that not even
        one subset of one seed fits into.
      UsageError: subsets of unknown embeddings, or a split that a task does not have.
    """
    precision = resolve(settings.precision, device.platform, device.device_kind)
    if settings.strict and precision == "float32":
        raise UsageError(
            "protocol=strict in float32, which was asked for or suits the device, is not there "
            "yet; use --precision=float64"
        )
    if settings.probe is not None and precision == "float32":
        raise UsageError('a probe of one\'s own computes in float64; use precision="float64"')
    samples = group_samples(tasks, settings.split)
    wanted = tuple(
        subsets.requested(s.names, settings.subsets, settings.max_subset_size) for s in samples
    )
    assigned = tuple(splits.folds_of(sample.tasks[0], settings) for sample in samples)
    seeds = tuple(range(settings.seeds))
    whole = tuple(Piece(i, seeds, wanted[i]) for i in range(len(samples)))
    # Where the data say how many folds there are, that may be hundreds.
    most = min(max(folds.count for folds in assigned), settings.folds or Settings.folds)
    at_once, fits_at_once = (1, 5) if device.platform == "cpu" else (most, most)
    on_host = _on_host(device.platform, precision)
    if precision == "float32" or settings.strict or settings.probe is not None:
        route = "gram"  # no other is refined
    hat = tuple(
        _hat_subsets(sample, sets, folds, route, on_host)
        for sample, sets, folds in zip(samples, wanted, assigned, strict=True)
    )
    plan = Plan(
        samples,
        (whole,),
        assigned,
        wanted,
        hat,
        settings,
        device.platform,
        precision,
        memory_budget(settings, device),
        at_once,
        fits_at_once,
        tuple(_choices(s, f, settings) for s, f in zip(samples, assigned, strict=True)),
    )
    if sum(plan.bytes(piece) for piece in whole) <= plan.budget:
        return plan
    parts = [part for piece in whole for part in _split(piece, plan)]
    return dataclasses.replace(plan, chunks=tuple((part,) for part in parts))


def _choices(sample: Sample, folds: Folds, settings: Settings) -> dict[str, inner.Choices]:
    """What the penalties of each kind of task are chosen from; empty under `paper`."""
    if not settings.strict:
        return {}
    training = folds.training
    grids = {}
    if sample.regression:
        grids["regression"] = inner.ridge_grid(settings.ridge_lambda, training)
    if sample.classification:
        grids["classification"] = inner.logistic_grid(settings.logistic_c, training)
    choices = {}
    for kind, grid in grids.items():
        groups = inner.group_count(folds.count, settings.inner_folds, kind)
        rows = inner.rows_of_groups(folds, groups, settings.seed_list())
        choices[kind] = inner.Choices(np.ascontiguousarray(grid, float), rows)
    return choices


def _on_host(platform: str, precision: str) -> bool:
    return platform == "cpu" and precision == "float64"


def size_text(size: float) -> str:
    """So many bytes in GiB, or in MiB where that says more."""
    return f"{size / GIB:.2f} GiB" if size >= GIB / 100 else f"{size / 2**20:.2f} MiB"


def memory_budget(settings: Settings, device: jax.Device | DeviceFacts) -> float:
    """Bytes that a call may use."""
    if settings.max_memory_gib:
        return settings.max_memory_gib * GIB
    statistics = device.memory_stats() or {}
    total = statistics.get("bytes_limit")
    if total is None:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return DEFAULT_SHARE * total


def _lattice(sample: Sample, wanted: Sequence[tuple[int, ...]]) -> subsets.Lattice:
    rank = {position: i for i, position in enumerate(sample.order)}
    widths = [sample.blocks[i].shape[1] for i in sample.order]
    return subsets.build_lattice(widths, [tuple(sorted(rank[i] for i in s)) for s in wanted])


def _parts(lattice: subsets.Lattice, piece: Piece, hat: frozenset):
    """The piece's subsets for the Gram route and for the hat route."""
    routes = [
        [i for i, s in enumerate(piece.subsets) if (s in hat) == yes] for yes in (False, True)
    ]
    return tuple(subsets.part_of(lattice, members) for members in routes)


def _held(folds: Folds) -> cost.Held:
    """What folds cost by."""
    scored = folds.held_out if folds.scored is None else folds.scored
    means = (math.ceil(rows.mean()) for rows in (folds.left_out, folds.sizes))
    return cost.Held(*means, folds.held_out.shape[2], scored.shape[2], divided=folds.scored is None)


def _hat_subsets(
    sample: Sample, wanted, folds: Folds, route: str, on_host: bool
) -> frozenset[tuple[int, ...]]:
    """The subsets that take the hat route; decided for the whole run, so that chunks agree."""
    t = sample.regression_targets
    if route == "gram" or not t:
        return frozenset()
    lattice = _lattice(sample, wanted)
    if route == "cheaper":
        seeds, k, _ = folds.held_out.shape
        _, members = cost.share_out(lattice, sample.rows, t, k, seeds, on_host, _held(folds))
    else:
        members = range(len(wanted))
    return frozenset(wanted[i] for i in members)


def _split(piece: Piece, plan: Plan) -> list[Piece]:
    """Halves a piece by seeds where that saves memory, then by subsets, until each part fits."""
    size = plan.bytes(piece)
    if size <= plan.budget:
        return [piece]

    def halves(field: str) -> list[Piece]:
        items = getattr(piece, field)
        middle = (len(items) + 1) // 2
        parts = [half for half in (items[:middle], items[middle:]) if half]
        return [dataclasses.replace(piece, **{field: half}) for half in parts]

    by_seeds, by_subsets = halves("seeds"), halves("subsets")
    useful = plan.bytes(by_seeds[0]) <= (1 - LEAST_SAVING) * size or len(by_subsets) < 2
    parts = by_seeds if len(by_seeds) > 1 and useful else by_subsets
    if len(parts) > 1:
        return [part for half in parts for part in _split(half, plan)]
    sample = plan.samples[piece.sample]
    name = subsets.name(piece.subsets[0], sample.names)
    raise InputError(
        f'task "{sample.tasks[0].name}": one seed of {name} on {sample.rows:,} rows needs about '
        f"{size_text(size)}, and the budget is {size_text(plan.budget)}; "
        f"raise --max_memory_gib or lower --folds"
    )


def _memory(
    sample: Sample,
    piece: Piece,
    hat: frozenset,
    k: int,
    beside: tuple[int, int],
    on_host: bool,
    predictions: bool,
    held: cost.Held | None = None,
    nested: tuple[int, int, bool] | None = None,
) -> float:
    """Bytes of a piece's arrays in and out and of its largest working set; an upper estimate.

    beside: ridge systems and logistic fits side by side.
    nested: under `strict`, as `nested_cost.nested_numbers` takes it from the folds on.
    """
    at_once, fits_at_once = beside
    n, s, r = sample.rows, len(piece.subsets), len(piece.seeds)
    p = sum(x.shape[1] for x in sample.blocks)
    t = sample.regression_targets
    inputs = sum(x.nbytes for x in sample.blocks) + n * t * FLOAT
    gram, part = _parts(_lattice(sample, piece.subsets), piece, hat)
    held = held or cost.shares(n, k)
    compiled = part is not None or sample.classification or not on_host
    working = 3 * n * p * FLOAT if compiled else 0.0
    outputs = 0.0
    if t:
        h, q = held.padded_left_out, p + t
        kept = k * q * q if keeps_moments(q, k, n) else 0
        fold = h * q + 8 * q * q + 3 * s * p * t + 3 * h * s * t
        beside = at_once
        if on_host and gram is not None:
            working += inputs + n * q * FLOAT  # its own copy of the input, standardised
            beside = host.available_cores()
        if nested is None:
            working += (kept + fold * beside) * FLOAT
        else:
            own = beside, gram.lattice, n, t, *nested
            working += nested_cost.nested_numbers(on_host, *own) * FLOAT
        if part is not None:
            working += _hat_memory(part, n, t, h, at_once)
        rows = max(n, k * held.padded_scored)
        outputs += (r * s * k * t + 3 * s * rows * t) * FLOAT
        outputs += (5 * r * s * rows * t if predictions else 0) * FLOAT
    classes = _class_memory(sample, piece, k, fits_at_once, predictions, held)
    return inputs + working + outputs + classes


def _refined_memory(
    sample: Sample,
    piece: Piece,
    k: int,
    beside: tuple[int, int],
    predictions: bool,
    held: cost.Held,
) -> float:
    """The same where ridge regression is float32 with refinement; see `refine`."""
    at_once, fits_at_once = beside
    n, s, r = sample.rows, len(piece.subsets), len(piece.seeds)
    p = sum(x.shape[1] for x in sample.blocks)
    t = sample.regression_targets
    total = 2.0 * sum(x.nbytes for x in sample.blocks) + n * t * FLOAT
    if sample.classification:
        total += 3 * n * p * FLOAT
    if t:
        lattice = _lattice(sample, piece.subsets)
        blocks = zip(lattice.stages, lattice.widths, lattice.starts, strict=False)
        factor = sum(len(stage.take) * width * (p - start) for stage, width, start in blocks)
        h, columns = held.padded_left_out, k * s * t
        chunk = min(n * (p + columns), refine.MOST_NUMBERS)
        kept = k * p * p if keeps_moments(p, k, n) else p * p
        fold = 6 * p * p + 3 * factor + 3 * h * s * t
        total += (kept + fold * at_once + k * factor + 10 * p * columns + 4 * chunk) * FLOAT
        rows = max(n, k * held.padded_scored)
        total += (r * s * k * t + 3 * s * rows * t) * FLOAT
        total += (3 * r * s * rows * t if predictions else 0) * FLOAT
    return total + _class_memory(sample, piece, k, fits_at_once, predictions, held)


def _class_memory(
    sample: Sample,
    piece: Piece,
    k: int,
    fits_at_once: int,
    predictions: bool,
    held: cost.Held,
) -> float:
    """Bytes of the classification tasks' fits and results."""
    n, s, r = sample.rows, len(piece.subsets), len(piece.seeds)
    widths = [x.shape[1] for x in sample.blocks]
    p = sum(widths)
    widest = max(sum(widths[i] for i in subset) for subset in piece.subsets)
    working = outputs = 0.0
    for task in sample.classification:
        c = len(task.classes)
        b = r * (k + fits_at_once)
        fits = b * c * (2 * (s + 1) * (p + 2) + (lbfgs.HISTORY + 4) * widest) + b * n
        batch = fits_at_once * c * (12 * n + 30 * widest)
        blocks = 3 * c * widest * widest
        logits = r * s * c * (n + max(n, k * held.padded_scored))
        working += (fits + batch + blocks + 3 * n * widest + logits) * FLOAT
        outputs += ((r * s * n * c if predictions else 0) + 4 * s * n) * FLOAT
    return working + outputs


def _hat_memory(part: subsets.Part, n: int, t: int, h: int, at_once: int = 1) -> float:
    """Bytes of the hat route's factors, of their elimination and of one round of folds."""
    lattice = part.lattice
    taken = [len(stage.take) for stage in lattice.stages]
    growth = sum(q * width for q, width in zip(taken, lattice.widths, strict=True))
    later = [lattice.starts[-1] - start for start in lattice.starts[:-1]]
    states = max(q * r * (n + r) for q, r in zip(taken, later, strict=True))
    s = len(lattice.subsets)
    fold = 4 * s * h * h + h * growth + 3 * s * h * t
    return (n * growth + 3 * states + 3 * s * n * t + fold * at_once) * FLOAT
