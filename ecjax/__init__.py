"""Which Earth embeddings are better together? See README.md."""

from ecjax.starting import listen as _listen

_listen()  # before the imports that take long

from ecjax.arrays import Task
from ecjax.compare import Comparison, compare
from ecjax.coordinates import Coordinates
from ecjax.errors import InputError, UsageError
from ecjax.evaluate import evaluate
from ecjax.overlap import Overlap, overlap
from ecjax.result import Result
from ecjax.scale import ScaleResult, scale
from ecjax.study import Study, read_study

__all__ = [
    "Comparison",
    "Coordinates",
    "InputError",
    "Overlap",
    "Result",
    "ScaleResult",
    "Study",
    "Task",
    "UsageError",
    "compare",
    "evaluate",
    "overlap",
    "read_study",
    "scale",
]
__version__ = "0.1.0"
