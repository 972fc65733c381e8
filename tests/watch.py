"""Sees what JAX compiles and runs."""

import contextlib
import dataclasses

import jax
from jax._src import pjit
from jax._src.interpreters import pxla

COMPILED = "/jax/core/compile/backend_compile_duration"


@dataclasses.dataclass
class Watched:
    """Names of programs, one for each time that one was compiled or executed."""

    compiled: list[str] = dataclasses.field(default_factory=list)
    executed: list[str] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def watched(monkeypatch):
    """Compilations, by JAX's own events, and executions of compiled programs.

    JAX reports no event for an execution. So its route through Python, where they are counted, is
    made the only one: after a first call JAX would take one that Python does not see. Programs that
    were called before are still seen if the caches have been cleared since.
    """
    seen = Watched()
    execute = pxla.ExecuteReplicated.__call__

    def counted(program, *arguments):
        seen.executed.append(program.name)
        return execute(program, *arguments)

    def listen(event, duration, **details):
        if event == COMPILED:
            seen.compiled.append(details["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    with monkeypatch.context() as patch:
        patch.setattr(pxla.ExecuteReplicated, "__call__", counted)
        patch.setattr(pjit, "_get_fastpath_data", lambda *_, **__: None)
        try:
            yield seen
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
