"""Ids are found the same whether or not they have an order."""

import numpy as np
import pytest

from ecjax.ids import common_ids
from ecjax.tables import EmbeddingTable, TaskTable


def place(ids, among):
    none = np.zeros((len(among), 0))
    table = EmbeddingTable("a", "a", among, none, (), none, none)
    return common_ids(TaskTable("t", "t", "regression", ids, {}), table, "inner")


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("order", ["equal", "sorted", "shuffled"])
def test_where_ids_are(order, text):
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(900, 200, replace=False)) + 1000
    among = ids if order == "equal" else np.sort(rng.choice(900, 300, replace=False)) + 1000
    if order == "shuffled":
        ids, among = rng.permutation(ids), rng.permutation(among)
    if text:
        ids, among = (a.astype(str).astype(object) for a in (ids, among))
    found = place(ids, among)
    where = {value: i for i, value in enumerate(among)}
    expected = [where.get(value, -1) for value in ids]
    assert found.place.tolist() == expected
    absent = expected.count(-1)
    assert [note.count for note in found.absent] == ([absent] if absent else [])
    surplus = len(set(among) - set(ids))
    assert [note.count for note in found.surplus] == ([surplus] if surplus else [])
