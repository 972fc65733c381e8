"""Which engine computed a number: by its sources and the packages that it computes with.

A version number alone would let results of changed sources pass for those of others.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from importlib import metadata, resources

ROOTS = ("engine", "plan", "kept", "rechosen")  # what cells' numbers come from
OF_STREAMS = ("stream_task", "stream_class_task")  # what those of streams come from
PACKAGES = ("jax", "jaxlib", "numpy", "scipy")


@functools.cache
def engine_digest(roots: tuple[str, ...] = ROOTS) -> str:
    """SHA-256 of the sources of roots, of all modules of ecjax that they import, and of versions.

    What reports, draws or reads results may change without making them another engine's.
    """
    digest = hashlib.sha256()
    for name, text in sorted(_sources(roots).items()):
        digest.update(f"{name}\0{text}\0".encode())
    for package in PACKAGES:
        digest.update(f"{package} {metadata.version(package)}\0".encode())
    return digest.hexdigest()


def _sources(roots: tuple[str, ...]) -> dict[str, str]:
    """Module → text, of roots and all that they import of ecjax."""
    folder, found, waiting = resources.files("ecjax"), {}, set(roots)
    while waiting:
        name = waiting.pop()
        found[name] = folder.joinpath(f"{name}.py").read_text("utf-8")
        waiting |= _imported(found[name]) - found.keys()
    return found


def _imported(text: str) -> set[str]:
    """The modules of ecjax that a source imports."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module == "ecjax":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("ecjax."):
            names.add(node.module.removeprefix("ecjax."))
    return names
