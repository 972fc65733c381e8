"""The flags of each command: what they are, how they are read, and their help."""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from absl import flags

from ecjax.errors import UsageError, neutral
from ecjax.settings import LEAST, PENALTIES, Settings

WIDTH = 100


class Command(NamedTuple):
    """A command: what follows its name, what it does in one line, and its flags."""

    arguments: str
    about: str
    flags: tuple[str, ...]


_INPUT = ("max_input_bytes",)
_MACHINE = ("max_memory_gib", "require_platform")
_EVALUATION = (
    "folds", "seeds", "seed", "ridge_lambda", "logistic_c", "logistic_tolerance", "subsets",
    "max_subset_size", "predictions", "protocol", "inner_folds", "split", "block_km", "buffer_km",
    "penalty", "control", "interval", "bootstraps", "bootstrap_choices", "bootstrap_unit",
    "confidence", "map_by", "map_km", "precision", "stream", "passes", *_INPUT, *_MACHINE,
)  # fmt: skip
COMMANDS = {
    "demo": Command(
        "[--out=DIR]",
        "the whole job on a made-up world, in about two minutes",
        ("out", "seed", *_MACHINE),
    ),
    "validate": Command("STUDY", "reads everything, fits nothing", _INPUT),
    "plan": Command(
        "STUDY",
        "tells what evaluate would take, fits nothing",
        (*_EVALUATION, "devices", "gflops", "gib_per_s"),
    ),
    "evaluate": Command(
        "STUDY --out=DIR",
        "every subset of embeddings on every task; goes on where it was ended",
        ("out", *_EVALUATION, "profile", "shard", "coordinator", "num_processes", "process_id"),
    ),
    "overlap": Command(
        "STUDY --out=DIR",
        "how much embeddings tell the same, without a task",
        ("out", "results", "seed", "confidence", *_INPUT),
    ),
    "scale": Command(
        "STUDY --out=DIR", "over which distances the targets change", ("out", "results", *_INPUT)
    ),
    "report": Command(
        "DIR",
        "the summary and DIR/report.html; or tables for a paper, or figures",
        ("format", "with"),
    ),
    "compare": Command("DIR1 DIR2", "what differs between two evaluations", ("out",)),
    "status": Command("DIR", "how far a run is, and whether its cells are whole", ()),
    "compact": Command("DIR", "puts a run's cells into one file", ()),
}
TEXTS = {
    "out": "directory for the tables, here or in an object store (URL)",
    "format": "html: the summary, and the page; latex: DIR/tables.tex; markdown: DIR/tables.md; "
    "png or pdf: each figure as a file in DIR/figures",
    "results": "directory that `ecjax evaluate` wrote for the same study: tells whether its scores "
    "and indices go with what is measured here",
    "with": "directories that `ecjax overlap` and `ecjax scale` wrote for the same study, as in "
    "overlap,scales: the page of an evaluation shows them too",
    "folds": "folds of every seed, at least 2; with --split=group also 0: leave out one group at a "
    "time",
    "seeds": "how often the rows are dealt to folds",
    "seed": "the first seed, from which the others count up; the demo's world and overlap's "
    "groups of rows are made from it too",
    "ridge_lambda": "ridge penalty. paper: 1; several, as in 0.1,1,10, are computed one by one. "
    "strict: the grid to choose from, by default half-decades from 1e-4 to 1e2 times the "
    "training rows",
    "logistic_c": "inverse penalty C of logistic regression. paper: as above. strict: the grid, by "
    "default such that 1/C is in decades from 1e-5 to 1e-1 times the training rows",
    "inner_folds": "strict: groups of the training rows' folds that choose a penalty, by default 5 "
    "for ridge and 3 for logistic regression; 0: each fold its own",
    "logistic_tolerance": "gradient norm at which a logistic fit has converged",
    "subsets": "sets to evaluate, as in a+b,a+b+c, their single models always among them; "
    "empty: all",
    "max_subset_size": "most models in a set; 0: no cap",
    "predictions": "also write out-of-fold predictions",
    "protocol": "paper: fixed penalties, everything standardised over the table; strict (the "
    "default): penalties chosen and columns scaled by training rows alone",
    "split": "how rows are dealt to folds: random; stratified (classes in proportion); group "
    "(whole groups: the task's key group); spatial (whole blocks of the map); hash (of seed and "
    "id); column (the task's key split: train and test, or one fold for each value)",
    "block_km": "with --split=spatial or --bootstrap_unit=block: side of a block",
    "buffer_km": "with --split=spatial: rows nearer than this to a fold's rows are not trained on",
    "penalty": "shared: one penalty for all embeddings of a set; banded: with --protocol=strict, "
    "one for each of them (of ridge regression; classes share C)",
    "control": "permuted: every set again with the rows of all members but the best single "
    "permuted (eci_permuted): what mere width does",
    "interval": "kind: ratio, in closed form; bootstrap, from the losses of drawn rows; "
    "refit, from ridge fits to drawn rows; nested, from nested cross-validation of ridge",
    "bootstraps": "replicates of --interval=bootstrap, which is taken where their number is given, "
    "and of --interval=refit",
    "bootstrap_choices": "of --interval=refit with --protocol=strict: keep the penalties of the "
    "original folds, or redo their choice by the drawn rows in every refit",
    "bootstrap_unit": "what counts as independent in intervals: row, block (of --block_km), group "
    "(the task's key group); auto: block with --split=spatial, group with --split=group, else row",
    "confidence": "level of the intervals",
    "map_by": "parts of the map with an index of their own: cell (of equal area), group (the "
    "task's key group), region (the study's [regions]); auto: region where there are some, else "
    "cell",
    "map_km": "side of the map's cells, by default the smallest of 100 to 5,000 km that leaves "
    "half of the rows in cells of 30 or more; 0: no maps of cells",
    "precision": "float64; float32 with refinement; auto: float64 where the device is made for it",
    "stream": "let the rows pass by, batch by batch, in place of holding them in memory; with "
    "--split=hash or column, where it is done by itself if a study does not fit",
    "passes": "of a stream: 2, or 1: scores and indices alone, without intervals and predictions",
    "max_memory_gib": "memory for one call, in GiB; 0: 70 % of the device's",
    "devices": "also what it would take on so many devices, each with a host, of these rates:",
    "gflops": "10^9 floating-point operations a second of each, as measured in work like this",
    "gib_per_s": "GiB a second that each host reads, as measured there",
    "profile": "directory for a trace of the computation, to look at in XProf or Perfetto",
    "shard": "i/N: part i, from 0, of N of the cells alone, for job arrays; when all parts are "
    "done, the same command without it makes the tables",
    "coordinator": "host:port of the first of several processes that share the run; with Slurm, "
    "Kubernetes and Cloud TPU they are found without",
    "num_processes": "how many processes share the run; 1: this one, whatever the job",
    "process_id": "which of them this is, from 0",
    "max_input_bytes": "what each table of the study may take when read; 0: 70 % of the memory, "
    "and no file may expand to more than 100 times its size and 128 MiB",
    "require_platform": "cpu, gpu or tpu: fail where JAX has none; empty: whatever there is",
}
COUNTS = ("num_processes", "process_id", "passes", "devices", "max_input_bytes")
SWITCHES = ("predictions", "stream")
NUMBERS = (
    "logistic_tolerance", "max_memory_gib", "block_km", "buffer_km", "confidence", "map_km",
    "gflops", "gib_per_s",
)  # fmt: skip
_HEAD = "Which Earth embeddings are better together?"


def usage() -> str:
    """What `ecjax --help` prints."""
    lines = [_HEAD, "", "usage: ecjax COMMAND [--flags]", ""]
    left = max(len(f"{name} {command.arguments}") for name, command in COMMANDS.items())
    for name, command in COMMANDS.items():
        lines.append(f"  ecjax {f'{name} {command.arguments}':{left}}  {command.about}")
    return "\n".join([*lines, "", "`ecjax COMMAND --help` lists the flags of a command."])


def help_of(name: str) -> str:
    """What `ecjax COMMAND --help` prints."""
    command = COMMANDS[name]
    flagged = " [--flags]" if command.flags else ""
    lines = [f"usage: ecjax {name} {command.arguments}{flagged}", "", f"  {command.about}"]
    if not command.flags:
        return "\n".join(lines)
    heads = {flag: _head(name, flag) for flag in command.flags}
    left = max(map(len, heads.values()))
    lines += ["", "flags, with their defaults:"]
    for flag, head in heads.items():
        first = f"  {head:{left}}  "
        text = first + TEXTS[flag]
        lines += textwrap.wrap(text, WIDTH, subsequent_indent=" " * len(first))
    return "\n".join(lines)


def parse(name: str, argv: Sequence[str]) -> tuple[list[str], flags.FlagValues]:
    """Arguments and flags of a command.

    Raises:
      UsageError: a flag that there is not, or a value that cannot be read.
    """
    values = _define(name)
    try:
        rest = values(["ecjax", *argv])[1:]
    except flags.UnrecognizedFlagError as error:
        near = difflib.get_close_matches(error.flagname, COMMANDS[name].flags, n=1)
        hint = f"did you mean --{near[0]}?" if near else f"`ecjax {name} --help` lists its flags"
        raise UsageError(f"unknown flag --{neutral(error.flagname)}; {hint}") from None
    except flags.Error as error:
        text = str(error).removeprefix("flag --")
        text = re.sub(r"\('Non-boolean argument to boolean flag'.*", "give true or false", text)
        raise UsageError(text) from None
    return rest, values


class _Parser(flags.ArgumentParser):
    """Reads a value, or says what to give instead."""

    def __init__(self, read, way_out: str):
        super().__init__()
        self._read, self._way_out = read, way_out

    def parse(self, argument):
        if not isinstance(argument, str):  # a default
            return argument
        try:
            return self._read(argument)
        except ValueError:
            raise ValueError(self._way_out) from None


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _parser(flag: str) -> _Parser:
    if flag in COUNTS:
        return _Parser(int, "give a whole number")
    if flag in LEAST:
        return _Parser(int, f"give a whole number of at least {LEAST[flag]}")
    if flag in PENALTIES:
        return _Parser(lambda text: list(map(float, text.split(","))), "give numbers, as in 0.1,1")
    if flag in NUMBERS:
        return _Parser(float, "give a number")
    return _Parser(_split if flag in ("subsets", "with") else str, "")


def _define(name: str) -> flags.FlagValues:
    """The flags of a command, apart from all other programs' flags."""
    values = flags.FlagValues()
    flags.DEFINE_bool("help", False, "", short_name="h", flag_values=values)
    for flag in COMMANDS[name].flags:
        if flag in SWITCHES:
            flags.DEFINE_bool(flag, False, TEXTS[flag], flag_values=values)
        else:
            default = _default(name, flag)
            flags.DEFINE(_parser(flag), flag, default, TEXTS[flag], flag_values=values)
    return values


def _default(name: str, flag: str):
    if flag == "out":
        return "ecjax-demo" if name == "demo" else None
    if flag in ("results", "with", "profile", "shard", "coordinator"):
        return None
    if flag == "format":
        return "html"
    if flag in ("devices", "gflops", "gib_per_s"):
        return 1 if flag == "devices" else None
    if flag == "max_input_bytes":
        return 0
    if flag in (*PENALTIES, "inner_folds", "map_km"):  # by protocol and kind of task
        return None
    value = getattr(Settings(), flag)
    return list(value) if isinstance(value, tuple) else value


def _head(name: str, flag: str) -> str:
    """A flag as it is written, with its default."""
    value = _default(name, flag)
    if value is None:
        wanted = {"out": "DIR", "results": "DIR", "with": "DIR,DIR", "inner_folds": "K",
                  "map_km": "KM", "profile": "DIR",
                  "shard": "I/N", "coordinator": "HOST:PORT", "num_processes": "N",
                  "process_id": "I", "gflops": "RATE", "gib_per_s": "RATE"}  # fmt: skip
        return f"--{flag}={wanted.get(flag, 'LIST')}"
    if isinstance(value, bool):
        return f"--{flag}"
    if isinstance(value, list):
        value = ",".join(f"{v:g}" for v in value)
    return f"--{flag}={value:g}" if isinstance(value, float) else f"--{flag}={value}"
