"""Whole numbers become what they stand for."""

import numpy as np
import pytest

from ecjax.errors import InputError
from ecjax.quantised import of_alphaearth, scaled

NAMES, IDS = ["e0", "e1"], np.arange(100, 400)


def test_every_code_of_alphaearth():
    q = np.arange(-127, 128)
    found = of_alphaearth(np.stack([q, q], 1).astype(np.float32), NAMES, IDS, "t")
    expected = (q / 127.5) ** 2 * np.sign(q)
    assert found.dtype == np.float32 and (found[:, 0] == expected.astype(np.float32)).all()
    assert found.max() < 1 and found[127, 1] == 0


def test_masked_codes():
    stored = np.array([[-128, -128], [-128, 5], [np.nan, 5], [np.nan, -128]])
    found = of_alphaearth(stored, NAMES, IDS, "t")
    assert (found[0] == -9999).all()
    assert np.isnan(found[1:, 0]).all() and found[1, 1] > 0 and np.isnan(found[3, 1])


@pytest.mark.parametrize("value", [0.5, 128, -129, np.inf, 1e9])
def test_what_is_no_code(value):
    with pytest.raises(InputError, match=r't: 1 value no whole.*"e1" at id "101".*remove dequan'):
        of_alphaearth(np.array([[1.0, 2.0], [1.0, value]]), NAMES, IDS, "t")


def test_a_scale_of_each_row():
    stored = np.array([[2, 4], [2, 4], [2, 4]], np.float32)
    found = scaled(stored, np.array([0.5, np.nan, 2.0]), "s", IDS, "t")
    assert found.dtype == np.float32 and (found[[0, 2]] == [[1, 2], [4, 8]]).all()
    assert np.isnan(found[1]).all()
    with pytest.raises(InputError, match=r'column "s" has 2 scales not above 0, first 0 at id "1'):
        scaled(stored, np.array([0.0, -1.0, 2.0]), "s", IDS, "t")
