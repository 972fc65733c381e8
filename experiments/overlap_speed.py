"""How long do measures of overlap take on many rows, and how much memory?

    python experiments/overlap_speed.py [--rows=100000] [--widths=512,64]

Two made-up embeddings that share 32 directions. Prints the seconds, on the clock and of the CPU,
of CKA in both forms, CCA in its three, RSA and participation ratios, all with their intervals; then
of R² in both directions; and the process's peak memory. Tiles of another size must give the same
values, and the first 400 rows alone those of n × n matrices: exits with 1 where they differ by more
than 1e-10.

Expect, at 100,000 rows: about 25 s of CPU for the measures, so under 30 s on 2 quiet cores, and a
peak of 0.8 GiB; two to three minutes in all.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
from absl import app, flags

from ecjax import overlap_pairs

ROWS = flags.DEFINE_integer("rows", 100_000, "Rows.")
WIDTHS = flags.DEFINE_list("widths", ["512", "64"], "Columns of the two embeddings.")
SHARED, FEW, CLOSE = 32, 400, 1e-10


def made(n: int, widths: tuple[int, int]) -> list[np.ndarray]:
    """Two float32 embeddings (n, p), as tables hold them."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(n, SHARED)).astype(np.float32)
    found = []
    for p in widths:
        x = rng.normal(size=(n, p)).astype(np.float32)
        x += common @ rng.normal(size=(SHARED, p)).astype(np.float32) / 4
        x += rng.normal(size=p).astype(np.float32)
        found.append(x)
    return found


def groups_of(n: int) -> list[np.ndarray]:
    return [np.arange(n)[g :: overlap_pairs.GROUPS] for g in range(overlap_pairs.GROUPS)]


def measured(embeddings: list[np.ndarray], tile: int) -> dict[str, float]:
    """All measures but R², by name."""
    groups = groups_of(len(embeddings[0]))
    blocks = [overlap_pairs.Block(name, x, tile) for name, x in zip("ab", embeddings, strict=True)]
    both = overlap_pairs.alike(overlap_pairs.sums_of(*blocks, groups), 0.95)
    found = {estimate.measure: estimate.value for estimate in both}
    for block in blocks:
        found[f"participation_ratio {block.name}"] = overlap_pairs.single(block, groups, 0.95).value
    return found


def predicted(embeddings: list[np.ndarray]) -> tuple[overlap_pairs.Estimate, ...]:
    """R² in both directions."""
    blocks = [overlap_pairs.Block(name, x) for name, x in zip("ab", embeddings, strict=True)]
    sums = overlap_pairs.sums_of(*blocks, groups_of(len(embeddings[0])))
    return overlap_pairs.predicted(sums, 0.95)


def plain(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """CKA, CCA, RSA and participation ratios from n × n matrices, QR and eigenvalues."""
    x, y = x.astype(float), y.astype(float)
    about = [a - a.mean(axis=0) for a in (x, y)]
    k, m = (a @ a.T for a in about)
    upper = np.triu_indices(len(x), 1)
    factors = [np.linalg.qr(a)[0] for a in about]
    ratios = [np.trace(a.T @ a) ** 2 / ((a.T @ a) ** 2).sum() for a in about]
    squares = np.linalg.svd(factors[0].T @ factors[1], compute_uv=False) ** 2
    return {
        "cka": (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()),
        "cca_centred": squares.mean(),
        "rsa": np.corrcoef(np.corrcoef(x)[upper], np.corrcoef(y)[upper])[0, 1],
        "participation_ratio a": ratios[0],
        "participation_ratio b": ratios[1],
    }


def clocked(work):
    """What work gives, its seconds on the clock, and those of the CPU."""
    before = time.perf_counter(), time.process_time()
    value = work()
    return value, time.perf_counter() - before[0], time.process_time() - before[1]


def largest(one: dict[str, float], two: dict[str, float]) -> float:
    return max(abs(one[name] - two[name]) for name in two)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    widths = tuple(map(int, WIDTHS.value))
    embeddings = made(ROWS.value, widths)
    found, seconds, cpu = clocked(lambda: measured(embeddings, overlap_pairs.products.TILE))
    print(f"{ROWS.value:,} rows x {widths}: {seconds:.1f} s, CPU {cpu:.1f} s")
    for name, value in found.items():
        print(f"  {name:24} {value:.6f}")
    estimates, further, further_cpu = clocked(lambda: predicted(embeddings))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"r2 ({', '.join(f'{e.value:.4f}' for e in estimates)}): {further:.1f} s, ", end="")
    print(f"CPU {further_cpu:.1f} s; peak of the process {peak:.2f} GiB")
    apart = largest(measured(embeddings, 1000), found)
    few = [x[:FEW, : FEW // 8] for x in embeddings]
    off = largest(measured(few, 64), plain(*few))
    print(f"tiles of 1,000 rows: {apart:.1e} off; {FEW} rows by n x n matrices: {off:.1e} off")
    sys.exit(0 if max(apart, off) <= CLOSE else 1)


if __name__ == "__main__":
    app.run(main)
