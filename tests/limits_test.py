"""What a table may take, and what may make up one."""

import pytest

from ecjax import limits
from ecjax.errors import InputError
from ecjax.limits import FREE_BYTES, MOST_EXPANSION, Budget, check_columns


def test_a_budget_is_of_all_files_together():
    budget = Budget(1000)
    first, second = budget.of(100, "a.csv"), budget.of(100, "b.csv")
    first.take(900)
    second.take(100)
    assert first.left == second.left == 0
    with pytest.raises(InputError, match=r"b.csv: the table takes 1,001 bytes.*--max_input_bytes"):
        second.take(1)


def test_without_a_budget_it_is_that_of_the_machine(monkeypatch):
    monkeypatch.setattr(limits, "default_bytes", lambda: 10**6)
    with pytest.raises(InputError, match=r"1,000,001 bytes or more when read, and 70% of the mem"):
        Budget().of(10**9, "a").take(10**6 + 1)


def test_what_is_small_may_expand_to_little():
    large = FREE_BYTES // MOST_EXPANSION * 2
    Budget().of(10, "a").take(FREE_BYTES)
    Budget().of(large, "a").take(large * MOST_EXPANSION)
    with pytest.raises(InputError, match=r"a: 10 bytes would expand to .*--max_input_bytes="):
        Budget().of(10, "a").take(FREE_BYTES + 1)
    own = Budget().of(10, "a")
    own.take(FREE_BYTES)
    with pytest.raises(InputError, match="would expand"):
        own.check(1)
    Budget(10 * FREE_BYTES).of(10, "a").take(FREE_BYTES + 1)  # which is asked for


def test_columns():
    check_columns(limits.MOST_COLUMNS, "a")
    with pytest.raises(InputError, match=r"a: 50,001 columns, and at most 50,000 are read"):
        check_columns(limits.MOST_COLUMNS + 1, "a")
