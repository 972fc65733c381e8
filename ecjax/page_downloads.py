"""The tables of a directory as CSV within the page: the same bytes, compressed, inert as text."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping

from ecjax.page_tables import safe

LARGEST = 1_000_000  # bytes of one compressed table
ALL = 4_000_000  # of all together
ABOUT = {
    "scores": "the scores of every set on every task",
    "index": "the index of every fused set, with intervals and tests",
    "targets": "the scores of every set on single targets",
    "gains": "what a set gains over each of its parts",
    "shapley": "each model's share in the full set's score",
    "maps": "the index by cells of the map or by regions",
    "strata": "scores and index within strata",
    "separation": "which strata differ most in their index",
    "commonality": "what is unique, shared or synergistic in pairs",
    "overlap": "how much embeddings tell the same, without a task",
    "overlap_correlation": "whether pairs that overlap less gain more",
    "scale": "over which distances targets change",
    "scale_curve": "the curves that these distances are read from",
    "scale_correlation": "whether scores and indices go with these distances",
}


def embedded(files: Mapping[str, bytes | None]) -> dict[str, str]:
    """File name → its bytes in gzip and base64, of those that fit, small ones first.

    Args:
      files: file name → bytes; None: too large to be read at all.
    """
    known = {name: content for name, content in files.items() if content is not None}
    packed = {name: gzip.compress(content, 9, mtime=0) for name, content in known.items()}
    fitting, used = {}, 0
    for name, content in sorted(packed.items(), key=lambda item: len(item[1])):
        if len(content) <= LARGEST and used + len(content) <= ALL:
            fitting[name] = base64.b64encode(content).decode("ascii")
            used += len(content)
    return {name: fitting[name] for name in files if name in fitting}


def downloads(files: Mapping[str, bytes | None], key: str = "downloads") -> list[str]:
    """The section that offers them; [] where there are none."""
    if not files:
        return []
    within = embedded(files)
    items = []
    for file in files:
        about = safe(ABOUT.get(file.removesuffix(".csv"), ""))
        place = f'<span data-csv="{safe(file)}">{safe(file)}</span>' if file in within else ""
        beside = f"{safe(file)}, too large for this page, lies beside it"
        items.append(f"<li>{place or beside}: {about}</li>")
    data = [
        f'<script type="text/plain" id="csv-{safe(file)}">{content}</script>'
        for file, content in within.items()
    ]
    return [f'<section id="{key}">', "<h2>Tables to save</h2>", f"<ul>{''.join(items)}</ul>",
            *data, "</section>"]  # fmt: skip
