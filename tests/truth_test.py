"""What the demo's fresh draws are scored by, against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from ecjax import truth


@pytest.mark.parametrize("spread", [1, 1_000])
def test_losses_of_logits_equal_scikit_learn(spread):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(300, 4))
    labels = (logits + rng.normal(size=logits.shape)).argmax(1).astype(np.int32)
    logits = spread * logits + 5_000  # an offset that single precision would not forgive
    shifted = logits - logits.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    expected = {
        "accuracy": 1 - metrics.accuracy_score(labels, logits.argmax(1)),
        "balanced_accuracy": 1 - metrics.balanced_accuracy_score(labels, logits.argmax(1)),
        "log_loss": -logs[np.arange(len(labels)), labels].mean(),
    }
    found = truth._losses_of(logits, labels)
    assert found == pytest.approx(expected, rel=1e-11)
    if spread == 1:  # scikit-learn clips probabilities that are 0 in double precision
        of_sklearn = metrics.log_loss(labels, np.exp(logs))
        assert found["log_loss"] == pytest.approx(of_sklearn, rel=1e-11)
