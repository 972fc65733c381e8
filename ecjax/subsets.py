"""Subsets of embeddings, and the lattice in which their ridge systems are eliminated.

A subset is a sorted tuple of positions in the study's order of embeddings. Its name is the models'
names joined by `+`. The solvers work in *lattice order*, widest embedding first, because the widest
block is then factored once and shared by half of all subsets.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from ecjax.errors import InputError, UsageError

MAX_EMBEDDINGS = 10


def requested(
    names: Sequence[str], subsets: Sequence[str] = (), max_size: int = 0
) -> tuple[tuple[int, ...], ...]:
    """The subsets to evaluate, by size and then in the study's order.

    Args:
      names: the embeddings, in the study's order.
      subsets: wanted sets as names joined by `+`, in any order; empty: all of them.
      max_size: largest number of models in a set; 0: no cap.

    Returns:
      Sorted position tuples. The singles of every wanted set are always among them, because the
      complementarity index compares a set with its members.

    Raises:
      InputError: too many embeddings.
      UsageError: an unknown name, or a name twice in one set.
    """
    if not 1 <= len(names) <= MAX_EMBEDDINGS:
        raise InputError(
            f"{len(names)} embeddings given; between 1 and {MAX_EMBEDDINGS} can be evaluated "
            f"(2^M - 1 subsets). Leave some out of the study."
        )
    if max_size < 0:
        raise UsageError(f"max_subset_size is {max_size}; give 0 (no cap) or more")
    if subsets:
        wanted = {_parse(text, names) for text in subsets}
        wanted |= {(i,) for subset in wanted for i in subset}
    else:
        positions = range(len(names))
        wanted = {
            s for size in range(1, len(names) + 1) for s in itertools.combinations(positions, size)
        }
    kept = [s for s in wanted if not max_size or len(s) <= max_size]
    return tuple(sorted(kept, key=lambda s: (len(s), s)))


def _parse(text: str, names: Sequence[str]) -> tuple[int, ...]:
    members = text.split("+")
    for member in members:
        if member not in names:
            raise UsageError(
                f'subsets: "{text}" holds "{member}", which is no embedding of this study; '
                f"known: {', '.join(names)}"
            )
    if len(set(members)) < len(members):
        raise UsageError(f'subsets: "{text}" names an embedding twice; name each once')
    return tuple(sorted(names.index(member) for member in members))


def name(subset: Sequence[int], names: Sequence[str]) -> str:
    """The subset's name: its models' names in the study's order, joined by `+`."""
    return "+".join(names[i] for i in subset)


def lattice_order(widths: Sequence[int], names: Sequence[str]) -> tuple[int, ...]:
    """Positions sorted widest first, ties by name, so that the study's order changes no bit."""
    return tuple(sorted(range(len(widths)), key=lambda i: (-widths[i], names[i])))


@dataclasses.dataclass(frozen=True)
class Stage:
    """What happens when block j is reached: some states take it, some pass it by.

    A state is a set of earlier blocks already eliminated (a prefix of some requested subset).

    Attributes:
      take: positions, in the list of states before this stage, of those that eliminate block j.
      skip: positions of those that go on without it.
      onward: positions, among the taken ones, of those with later blocks still to come. The states
        after this stage are the skipped ones followed by the onward ones.
      members: for each taken state, the subsets (positions in the requested list) that continue
        it; shorter lists are padded with the number of subsets, a row that is thrown away.
    """

    take: tuple[int, ...]
    skip: tuple[int, ...]
    onward: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class Lattice:
    """The order of elimination that shares every common prefix of the subsets' factorisations.

    Attributes:
      widths: columns of each block, in lattice order.
      subsets: the requested subsets as sorted tuples of lattice positions.
      stages: one per block.
    """

    widths: tuple[int, ...]
    subsets: tuple[tuple[int, ...], ...]
    stages: tuple[Stage, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        """First column of each block, and the total width."""
        return (0, *itertools.accumulate(self.widths))

    def columns(self, subset: Sequence[int]) -> list[int]:
        """Column numbers (in lattice order) of a subset."""
        return [c for b in subset for c in range(self.starts[b], self.starts[b + 1])]


def build_lattice(widths: Sequence[int], subsets: Sequence[Sequence[int]]) -> Lattice:
    """Plans the elimination for subsets given as sorted tuples of lattice positions."""
    subsets = tuple(tuple(s) for s in subsets)
    continuing: dict[tuple[tuple[int, ...], int], list[int]] = {}
    latest: dict[tuple[int, ...], int] = {}
    for i, subset in enumerate(subsets):
        for cut, block in enumerate(subset):
            prefix = subset[:cut]
            continuing.setdefault((prefix, block), []).append(i)
            latest[prefix] = max(latest.get(prefix, -1), block)
    states: list[tuple[int, ...]] = [()]
    stages = []
    for j in range(len(widths)):
        take = [i for i, prefix in enumerate(states) if (prefix, j) in continuing]
        skip = [i for i, prefix in enumerate(states) if latest[prefix] > j]
        taken = [(*states[i], j) for i in take]
        onward = [i for i, prefix in enumerate(taken) if latest.get(prefix, -1) > j]
        lists = [continuing[states[i], j] for i in take]
        longest = max(map(len, lists), default=0)
        members = tuple(tuple(found + [len(subsets)] * (longest - len(found))) for found in lists)
        stages.append(Stage(tuple(take), tuple(skip), tuple(onward), members))
        states = [states[i] for i in skip] + [taken[i] for i in onward]
    return Lattice(tuple(widths), subsets, tuple(stages))


@dataclasses.dataclass(frozen=True)
class Part:
    """Some of a lattice's subsets, and a lattice of their own over the blocks that they hold.

    Attributes:
      lattice: theirs.
      blocks: positions of its blocks in the whole lattice.
      members: positions of its subsets in the whole lattice's list.
    """

    lattice: Lattice
    blocks: tuple[int, ...]
    members: tuple[int, ...]


def part_of(lattice: Lattice, members: Sequence[int]) -> Part | None:
    """The part of the subsets at these positions; None if there are none."""
    if not members:
        return None
    held = [lattice.subsets[i] for i in members]
    blocks = tuple(sorted({block for subset in held for block in subset}))
    rank = {block: i for i, block in enumerate(blocks)}
    own = build_lattice(
        [lattice.widths[block] for block in blocks],
        [tuple(rank[block] for block in subset) for subset in held],
    )
    return Part(own, blocks, tuple(members))
