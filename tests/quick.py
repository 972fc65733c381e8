"""Compiles programs in a third of the time."""

import contextlib
from unittest import mock

import jax
from jax._src import compiler

OPTION = "jax_disable_most_optimizations"
FLAGS = [("xla_cpu_parallel_codegen_split_count", 1)]
if jax.__version_info__ < (0, 11):  # which has one way only to write loops for a CPU, the slower
    FLAGS.append(("xla_cpu_use_fusion_emitters", False))


@contextlib.contextmanager
def quickly_compiled():
    """With few optimisations: for tests of what is done with numbers, or of how they agree.

    Compiling logistic fits takes seconds for every shape, and far longer than small studies run.
    What the fits themselves are is tested as users run them, in logistic_test and
    nested_logistic_test.
    """
    usual, before = compiler.get_compile_options, jax.config.values[OPTION]

    def options_of(*arguments, **keywords):
        options = usual(*arguments, **keywords)
        options.env_option_overrides += FLAGS
        return options

    jax.config.update(OPTION, True)
    try:
        with mock.patch.object(compiler, "get_compile_options", options_of):
            yield
    finally:
        jax.config.update(OPTION, before)
