"""Compiles programs in half the time."""

import contextlib

import jax

OPTION = "jax_disable_most_optimizations"


@contextlib.contextmanager
def quickly_compiled():
    """With few optimisations: for tests of what is done with numbers, or of how they agree.

    Compiling logistic fits takes seconds for every shape, and far longer than small studies run.
    What the fits themselves are is tested as users run them, in logistic_test and
    nested_logistic_test.
    """
    before = jax.config.values[OPTION]
    jax.config.update(OPTION, True)
    try:
        yield
    finally:
        jax.config.update(OPTION, before)
