"""What plans say of other machines."""

import pytest

from ecjax import scaled_plan
from ecjax.errors import UsageError
from ecjax.memory import GIB
from ecjax.scaled_plan import Machines, Needs

NEEDS = Needs(8e12, 1e11, 64.0 * GIB, 2.0 * GIB, 6)


def test_devices_share_what_can_be_shared():
    found = scaled_plan.on(NEEDS, Machines(1, 100, 0.5))
    assert (found.reading, found.arithmetic, found.alone) == (132, 80, 1)
    assert (found.seconds, found.bound) == (133, "reading")
    found = scaled_plan.on(NEEDS, Machines(4, 100, 2))
    assert (found.reading, found.arithmetic, found.alone) == (9, 20, 1)
    assert (found.seconds, found.bound) == (21, "arithmetic")
    many = scaled_plan.on(NEEDS, Machines(64, 100, 1))
    assert many.arithmetic == 80 / 6 and many.reading == 3  # six cells, and no more


def test_what_devices_repeat_may_bind():
    found = scaled_plan.on(NEEDS._replace(repeated=1e14, most=1e9), Machines(64, 100, 1))
    assert found.bound == "arithmetic that is not shared"
    text = scaled_plan.in_words(NEEDS, Machines(4, 100, 2))
    assert text.endswith("about 21 s, bound by arithmetic (reading 9.0 s, arithmetic 20 s, "
                         "arithmetic that each repeats 1.0 s)")  # fmt: skip
    assert "each repeats" not in scaled_plan.in_words(NEEDS._replace(repeated=0), Machines(1, 1, 1))


@pytest.mark.parametrize("wrong", [{"devices": 0}, {"gflops": 0.0}, {"gib_per_s": -1.0}])
def test_machines_that_do_nothing_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(UsageError, match=f"{name}=.* above 0"):
        scaled_plan.check(Machines(1, 1, 1)._replace(**wrong))
