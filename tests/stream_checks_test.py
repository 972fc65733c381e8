"""What holds in one batch, or for one process, need not hold for all rows."""

import numpy as np
import pandas as pd
import pytest
from make_streams import Threads

from ecjax.errors import InputError
from ecjax.peers import Alone
from ecjax.stream_checks import Checks
from ecjax.tables import EmbeddingTable, TaskTable

N = 120
IDS = np.random.default_rng(5).permutation(N)


def embedding(name, vectors, rows):
    some = np.zeros(len(rows), bool)
    columns = tuple(f"{name}{j}" for j in range(vectors.shape[1]))
    return EmbeddingTable(name, f"table {name}", IDS[rows], vectors[rows], columns, some, some)


def checked(peer, vectors, y, batch=20):
    """Checks that have seen all rows of a process, and what their notes need."""
    checks = Checks("t", {name: x.shape[1] for name, x in vectors.items()})
    for start in range(N * peer.index // peer.count, N * (peer.index + 1) // peer.count, batch):
        rows = np.arange(start, start + batch)
        targets = {"y": pd.Series(y[rows, 0])}
        task = TaskTable("t", "task t", "regression", IDS[rows], targets)
        tables = {name: embedding(name, x, rows) for name, x in vectors.items()}
        checks.see(task, y[rows], tables, dict.fromkeys(tables, rows))
    checks.agree(peer)
    return checks, (task, tables, {}, IDS)


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    vectors = {name: rng.normal(size=(N, 3)) for name in "ab"}
    return vectors, rng.normal(size=(N, 1))


def every(vectors, y):
    """The checks of one process, and of each of three."""
    return [checked(Alone(), vectors, y), *Threads(3).run(lambda p: checked(p, vectors, y))]


def test_a_constant_column_is_so_in_all_rows(sample):
    vectors, y = sample
    vectors["a"][:, 1] = 7
    vectors["b"][:, 2] = np.arange(N) // 40  # constant among the rows of each process
    for checks, some in every(vectors, y):
        (note,) = checks.notes(*some)
        assert (note.source, note.reason, note.first) == ("a", "constant column", "a1")


def test_equal_vectors_are_so_in_all_rows(sample):
    vectors, y = sample
    vectors["b"] = vectors["a"].copy()
    for checks, some in every(vectors, y):
        with pytest.raises(InputError, match='"a" and "b" are one table under two names'):
            checks.notes(*some)
    vectors["b"][-1, 2] += 1
    for checks, some in every(vectors, y):
        assert checks.notes(*some) == () and checks.rows == N


def test_a_leak_is_so_in_all_rows(sample):
    vectors, y = sample
    vectors["a"][:, 2] = 5 - 3 * y[:, 0]
    for checks, some in every(vectors, y):
        with pytest.raises(InputError, match='column "a2" is the target y .* over 120 rows'):
            checks.notes(*some)
    vectors["a"][50, 2] += 0.5
    for checks, some in every(vectors, y):
        assert checks.notes(*some) == ()


def test_a_name_is_a_leak_however_the_rows_are(sample):
    vectors, y = sample
    checks, (task, tables, *more) = checked(Alone(), vectors, y)
    assert checks.notes(task, tables, *more) == ()
    named = Checks("t", {"a": 3})
    table = embedding("a", vectors["a"], np.arange(20))
    table = EmbeddingTable(**vars(table) | {"columns": ("a0", "latitude", "a2")})
    named.see(task, y[:20], {"a": table}, {"a": np.arange(20)})
    named.agree(Alone())
    with pytest.raises(InputError, match='"latitude" is named like an id, coordinate or target'):
        named.notes(task, {"a": table}, *more)
