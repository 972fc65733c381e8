"""The plan of a run: which samples, seeds and subsets go into which compiled call.

A chunk is one call of `engine.study`. The whole study is one chunk where memory allows and, where
it is cut into cells, time; else it is cut by sample, then by groups of tasks, by seeds and by
subsets, none of which changes what is computed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from ecjax import cost, inner, logistic, logistic_cost, memory, nested_cost, splits, subsets
from ecjax.align import AlignedTask
from ecjax.errors import InputError, UsageError, quote
from ecjax.folds import Folds
from ecjax.memory import GIB, MORE_ROOM, TooLarge, size_text
from ecjax.nested_cost import Search
from ecjax.pieces import Piece, Sample, group_samples, held_by, lattice_of, parts_of
from ecjax.precision import DeviceFacts, resolve
from ecjax.program import Program, SampleData
from ecjax.settings import ALIKE, Settings

DEFAULT_SHARE = 0.7
LEAST_SAVING = 0.05  # of a piece's bytes, for which its seeds are halved
TIMED = ("cpu",)  # platforms that the rates of `cost` were measured on
# Operations a second of a device that was never measured, to cut and weigh cells by: rather too
# few, so that little is lost with a cell.
ASSUMED_RATE = 1e12


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
      at_once, fits_at_once: what is solved side by side, see `program.Program`.
      choices: under `strict`, of each sample: what penalties are chosen from, by kind of task.
      evaluations: of each sample: pairs of matrix products that a logistic fit is assumed to take.
      cell_seconds: estimated seconds that a call may take, if it can be cut; None: any number.
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
    evaluations: tuple[float, ...]
    cell_seconds: float | None = None

    def search(self, piece: Piece, kind: str) -> Search | None:
        """How penalties of a kind of task are chosen; None where they are fixed."""
        choices = self.choices[piece.sample].get(kind)
        if choices is None:
            return None
        folds, asked = self.folds[piece.sample].count, self.settings.inner_folds
        width = 0 if choices.rows is None else choices.rows.shape[3]
        banded = 0
        if kind == "regression" and self.settings.penalty == "banded":
            banded = len(self.sample_of(piece).regression)
        groups = inner.group_count(folds, asked, kind)
        return Search(groups, choices.grid.shape[2], width, banded)

    def sample_of(self, piece: Piece) -> Sample:
        """The sample of a piece with its tasks alone."""
        return self.samples[piece.sample].only(piece.groups)

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

    def fits(self, pieces: Iterable[Piece]) -> bool:
        """Whether these pieces may be one call."""
        pieces = tuple(pieces)
        if sum(map(self.bytes, pieces)) > self.budget:
            return False
        return self.cell_seconds is None or self.weight(pieces) <= self.cell_seconds

    def weight(self, pieces: Iterable[Piece]) -> float:
        """Seconds of these pieces, to compare them with others: roughly, where no rate is known."""
        work = self.work(pieces)
        return work.operations / ASSUMED_RATE if work.seconds is None else work.seconds

    def bytes(self, piece: Piece) -> float:
        """Bytes of a piece's arrays; an upper estimate."""
        return memory.piece_bytes(self.sample_of(piece), piece, self.way(piece))

    def way(self, piece: Piece) -> memory.Way:
        """How a piece is computed."""
        folds = self.folds[piece.sample]
        return memory.Way(
            folds=folds.count,
            held=held_by(folds),
            hat=self.hat[piece.sample],
            on_host=self.on_host,
            refined=self.precision == "float32",
            at_once=self.at_once,
            fits_at_once=self.fits_at_once,
            predictions=self.settings.predictions,
            ridge=self.search(piece, "regression"),
            logistic=self.search(piece, "classification"),
        )

    def _cost(self, piece: Piece) -> cost.Cost:
        sample, folds, r = self.sample_of(piece), self.folds[piece.sample], len(piece.seeds)
        k, held = folds.count, held_by(folds)
        lattice = lattice_of(sample, piece.subsets)
        costs = []
        if sample.regression:
            parts = parts_of(lattice, piece, self.hat[piece.sample])
            shape = sample.rows, sample.regression_targets, k, r
            search = self.search(piece, "regression")
            if search is None:
                costs.append(cost.ridge_cost(*parts, *shape, self.on_host, held))
            else:
                of_gram = parts[0].lattice, *shape, search, held
                costs.append(nested_cost.nested_cost(self.on_host, *of_gram))
            if self.precision == "float32":
                costs.append(cost.refinement_cost(lattice, *shape))
        widths = [w for w, group in logistic.solver_groups(lattice) for _ in group]
        fits, times, search = (k, r), 1, self.search(piece, "classification")
        if search is not None:  # one seed and one C after the other, and m + 2 fits a fold
            fits, times = (k * (search.groups + 2), 1), r * search.penalties
        for task in sample.classification:
            shape = sample.rows, len(task.classes), *fits, self.fits_at_once
            one = logistic_cost.logistic_cost(widths, *shape, self.evaluations[piece.sample])
            costs.append(cost.Cost(times * one.operations, times * one.seconds))
        return cost.Cost(*(sum(part) for part in zip(*costs, strict=True)))

    def arguments(
        self, pieces: Iterable[Piece]
    ) -> tuple[tuple[Program, ...], tuple[SampleData, ...]]:
        """The programs and arrays that `engine.study` takes for a chunk."""
        pieces = tuple(pieces)
        programs = tuple(self.program(piece, self.settings.predictions) for piece in pieces)
        return programs, tuple(self.data(piece) for piece in pieces)

    def program(self, piece: Piece, predictions: bool) -> Program:
        """The static part of a piece."""
        sample = self.sample_of(piece)
        lattice = lattice_of(sample, piece.subsets)
        gram, hat = parts_of(lattice, piece, self.hat[piece.sample])
        search = self.search(piece, "regression")
        return Program(
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
            groups=0 if search is None else search.groups,
            dtype=self.precision,
            probe=self.settings.probe,
        )

    def data(self, piece: Piece) -> SampleData:
        """The arrays of a piece."""
        sample = self.sample_of(piece)
        none = np.zeros((sample.rows, 0))
        folds, seeds = self.folds[piece.sample], list(piece.seeds)
        choices = {
            kind: jax.tree.map(lambda a: a[seeds], c)
            for kind, c in self.choices[piece.sample].items()
        }
        return SampleData(
            blocks=tuple(sample.blocks[i] for i in sample.order),
            y=np.concatenate([none, *(task.y for task in sample.regression)], axis=1),
            labels=tuple(task.y for task in sample.classification),
            held_out=folds.held_out[seeds],
            scored=None if folds.scored is None else folds.scored[seeds],
            ridge=choices.get("regression"),
            logistic=choices.get("classification"),
        )


def make_plan(
    tasks: Sequence[AlignedTask],
    settings: Settings,
    device: jax.Device | DeviceFacts,
    route: str = "cheaper",
    cell_seconds: float | None = None,
) -> Plan:
    """Plans one setting.

    Args:
      device: that the plan is for; it need not be there.
      route: of ridge regression: "cheaper", or "gram" or "hat" for all subsets, to compare them.
      cell_seconds: as `Plan`.

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
    # With more folds than that, not even inner folds are dealt by the seed.
    many = all(folds.count >= inner.LEAST_FOLDS for folds in assigned)
    if settings.seeds > 1 and settings.one_dealing and many:
        raise UsageError(f"seeds={settings.seeds}: {ALIKE}; leave it out")
    seeds = tuple(range(settings.seeds))
    groups = (tuple(range(len(sample.groups))) for sample in samples)
    whole = tuple(Piece(i, seeds, wanted[i], own) for i, own in enumerate(groups))
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
    choices = tuple(_choices(s, f, settings) for s, f in zip(samples, assigned, strict=True))
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
        choices,
        tuple(_evaluations(*of, settings) for of in zip(samples, assigned, choices, strict=True)),
        cell_seconds,
    )
    if plan.fits(whole):
        return plan
    parts = [part for piece in whole for part in split(piece, plan)]
    return dataclasses.replace(plan, chunks=tuple((part,) for part in parts))


def _choices(sample: Sample, folds: Folds, settings: Settings) -> dict[str, inner.Choices]:
    """What the penalties of each kind of task are chosen from; empty under `paper`."""
    if not settings.strict:
        return {}
    check_training(sample.tasks[0].name, folds.training, settings)
    given = {"regression": settings.ridge_lambda, "classification": settings.logistic_c}
    how = settings.inner_folds, settings.seed_list(), settings.probe is not None
    return {
        kind: inner.choices(kind, folds, given[kind], *how)
        for kind in dict.fromkeys(task.kind for task in sample.tasks)
    }


def _evaluations(
    sample: Sample, folds: Folds, choices: dict[str, inner.Choices], settings: Settings
) -> float:
    """Assumed for a logistic fit, by the folds of the first seed."""
    shift, of_classes = 0.0, choices.get("classification")
    if sample.classification:
        groups = None if of_classes is None else of_classes.rows[0]
        shift = logistic_cost.column_shift(sample.blocks, folds.held_out[0], groups)
    return logistic_cost.logistic_evaluations(settings.logistic_tolerance, shift)


def check_training(task: str, training: np.ndarray, settings: Settings) -> None:
    """Raises an InputError if a fold has too few training rows (r, k) to choose a penalty."""
    few = np.argwhere(training < 2)
    if len(few):
        seed, fold = few[0]
        raise InputError(
            f"task {quote(task)}: fold {fold} of seed {settings.seed_list()[seed]} "
            "trains on one row, and --protocol=strict needs two to choose a penalty; mark more "
            "rows for training, or use a smaller buffer"
        )


def _on_host(platform: str, precision: str) -> bool:
    return platform == "cpu" and precision == "float64"


def memory_budget(settings: Settings, device: jax.Device | DeviceFacts) -> float:
    """Bytes that a call may use."""
    if settings.max_memory_gib:
        return settings.max_memory_gib * GIB
    statistics = device.memory_stats() or {}
    total = statistics.get("bytes_limit")
    if total is None:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return DEFAULT_SHARE * total


def _hat_subsets(
    sample: Sample, wanted, folds: Folds, route: str, on_host: bool
) -> frozenset[tuple[int, ...]]:
    """The subsets that take the hat route; decided for the whole run, so that chunks agree."""
    t = sample.regression_targets
    if route == "gram" or not t:
        return frozenset()
    lattice = lattice_of(sample, wanted)
    if route == "cheaper":
        seeds, k, _ = folds.held_out.shape
        _, members = cost.share_out(lattice, sample.rows, t, k, seeds, on_host, held_by(folds))
    else:
        members = range(len(wanted))
    return frozenset(wanted[i] for i in members)


def split(piece: Piece, plan: Plan) -> list[Piece]:
    """Cuts a piece until each part may be a call; raises TooLarge."""
    if plan.fits([piece]):
        return [piece]
    parts = _halves(piece, plan)
    if len(parts) > 1:
        return [part for half in parts for part in split(half, plan)]
    size = plan.bytes(piece)
    if size <= plan.budget:
        return [piece]  # it takes long, but there is nothing to cut
    sample = plan.sample_of(piece)
    name = subsets.name(piece.subsets[0], sample.names)
    raise TooLarge(
        f'task "{sample.tasks[0].name}": one seed of {name} on {sample.rows:,} rows needs about '
        f"{size_text(size)}, and the budget is {size_text(plan.budget)}; {MORE_ROOM}"
    )


def _halves(piece: Piece, plan: Plan) -> list[Piece]:
    """A piece by groups of tasks, or in halves by seeds where that saves what is short, or by
    subsets."""
    if len(piece.groups) > 1:
        return [dataclasses.replace(piece, groups=(group,)) for group in piece.groups]

    def halves(field: str) -> list[Piece]:
        items = getattr(piece, field)
        middle = (len(items) + 1) // 2
        parts = [half for half in (items[:middle], items[middle:]) if half]
        return [dataclasses.replace(piece, **{field: half}) for half in parts]

    by_seeds, by_subsets = halves("seeds"), halves("subsets")
    size = plan.bytes(piece)
    saved = size <= plan.budget or plan.bytes(by_seeds[0]) <= (1 - LEAST_SAVING) * size
    return by_seeds if len(by_seeds) > 1 and (saved or len(by_subsets) < 2) else by_subsets
