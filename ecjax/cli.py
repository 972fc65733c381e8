"""The command line: `ecjax COMMAND …`, absl flags, exit codes."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import textwrap
import traceback
from collections.abc import Sequence

from absl import flags

import ecjax
from ecjax import (
    demo,
    fetch,
    formats,
    label_sets,
    options,
    page,
    processes,
    report,
    scaled_plan,
    starting,
    status,
    store,
)
from ecjax.compare import compare
from ecjax.errors import InputError, UsageError, counted, listing, neutral
from ecjax.evaluate import run_of
from ecjax.fetch_asked import Asked
from ecjax.fetch_files import STUDY
from ecjax.models import Unavailable
from ecjax.overlap import Overlap, overlap
from ecjax.peers import Alone, PeerLost
from ecjax.places import check_writable, place_of
from ecjax.progress import Progress
from ecjax.registry import sources_of
from ecjax.scale import ScaleResult, scale
from ecjax.scaled_plan import Machines
from ecjax.settings import from_arguments
from ecjax.study import Study, read_study
from ecjax.validate import validate
from ecjax.validation import of_error
from ecjax.validation_text import as_text
from ecjax.wanted import Given

DONE, USAGE, BAD_INPUT, UNDEFINED, INTERRUPTED = 0, 1, 2, 3, 75
OF_PLANS = "devices", "gflops", "gib_per_s"  # flags of the machines that plans are scaled to


def _demo(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect(arguments, "demo", ())
    settings = from_arguments(demo.ARGUMENTS | _settings(values))
    progress = Progress()
    with progress.stop.listening():
        result, reading = demo.run_demo(values.out, settings, progress)
    _print(report.summary(result.tables, result.manifest, *_terminal()))
    _print("")
    _print(reading)
    return UNDEFINED if result.undefined else DONE


def _validate(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect(arguments, "validate", ("STUDY",))
    if values.format not in ("text", "json"):
        raise UsageError(f"--format={neutral(values.format)}: validate has text and json")
    try:
        study = _study(arguments[0], values)
    except InputError as error:
        if values.format == "json":
            _print(of_error(arguments[0], error).as_json())
        raise
    found = validate(study, from_arguments(_settings(values)), Progress())
    if values.format == "json":
        _print(found.as_json())
    elif found.tasks or found.needs:
        _print(as_text(found))
    if found.errors:
        head = [f"{len(found.errors)} errors:"] if len(found.errors) > 1 else []
        lines = [line.strip() for error in found.errors for line in error.split("\n")]
        raise InputError(*head, *lines)
    return DONE


def _plan(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect(arguments, "plan", ("STUDY",))
    settings, machines = from_arguments(_settings(values)), _machines(values)
    study = _study(arguments[0], values)
    plan = run_of(study, settings, Progress()).plan()
    _print(f"{neutral(study.name)}: what `ecjax evaluate` would take\n")
    width = _terminal()[1]
    _print(plan.as_text(width))
    if machines is not None:
        _print(textwrap.fill(scaled_plan.in_words(plan.needs, machines), width))
    return DONE


def _machines(values: flags.FlagValues) -> Machines | None:
    """The machines that a plan is asked to be scaled to."""
    given = Machines(values.devices, values.gflops, values.gib_per_s)
    if given == Machines(1, None, None):
        return None
    scaled_plan.check(given)
    return given


def _evaluate(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect_out("evaluate", arguments, values)
    settings, progress = from_arguments(_settings(values)), Progress()
    with progress.stop.listening(), processes.of(settings) as peers:
        run = run_of(_study(arguments[0], values), settings, progress, peers)
        result = run.evaluate(values.out)
    if result is None:
        _print(_part(peers, values.out) if settings.shard else f"process {peers.index}: done")
        return DONE
    _print(report.summary(result.tables, result.manifest, *_terminal()))
    out = neutral(place_of(values.out))
    _print(f"\nTables: {out}. `ecjax report {shlex.quote(out)}` writes a page.")
    return UNDEFINED if result.undefined else DONE


def _part(peers: Alone, out: str) -> str:
    """What a shard has done, and what comes next."""
    how = status.status(out)
    next_step = "the same command without --shard makes the tables"
    if how.missing:
        next_step = f"when all are there, {next_step}"
    return (
        f"shard {peers.index}/{peers.count} is done; {how.done:,} of {counted(how.cells, 'cell')} "
        f"are there; {next_step}"
    )


def _overlap(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect_out("overlap", arguments, values)
    given = from_arguments(_settings(values))
    study, how = _study(arguments[0], values), {"seed": given.seed, "confidence": given.confidence}
    result = overlap(study, out=values.out, results=values.results, progress=True, **how)
    _print(result.as_text(_terminal()[1]))
    _print(f"\nTables: {neutral(place_of(values.out))}.")
    return UNDEFINED if result.undefined else DONE


def _scale(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect_out("scale", arguments, values)
    study = _study(arguments[0], values)
    result = scale(study, out=values.out, results=values.results, progress=True)
    _print(result.as_text(_terminal()[1]))
    _print(f"\nTables: {neutral(place_of(values.out))}.")
    return UNDEFINED if result.undefined else DONE


def _report(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect(arguments, "report", ("DIR",))
    formats.check_format(values.format)
    if (place := place_of(arguments[0])).is_directory():
        check_writable(place, "make it so, or copy it and name the copy")
    if values.format != "html":
        if values["with"].value:
            raise UsageError("--with is for the page; leave it out, or give --format=html")
        _print("\n".join(neutral(path) for path in formats.write(arguments[0], values.format)))
        return DONE
    names = ("scores", "index", "folds", "targets", "overlap", "overlap_correlation", "scale",
             "scale_correlation")  # fmt: skip
    tables, manifest = store.read_results(arguments[0], names=names)
    path = page.write_page(arguments[0], values["with"].value or ())
    color, width = _terminal()
    if "overlap" in tables:
        correlation = tables.get("overlap_correlation")
        _print(Overlap(tables["overlap"], manifest, correlation).as_text(width))
    elif "scale" in tables:
        correlation = tables.get("scale_correlation")
        _print(ScaleResult(tables["scale"], manifest, correlation).as_text(width))
    else:
        _print(report.summary(tables, manifest, color, width))
    _print(f"\nPage: {neutral(path)}")
    if later := status.not_done(arguments[0]):
        print(f"ecjax: {neutral(later)}", file=sys.stderr)
    return DONE


def _compare(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect(arguments, "compare", ("DIR1", "DIR2"))
    found = compare(*arguments, out=values.out)
    _print(found.as_text(_terminal()[1]))
    if values.out:
        _print(f"\nTable: {neutral(place_of(values.out))}.")
    return DONE


def _fetch(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect(arguments, "fetch", () if values.task else ("PLACES",))
    if not values.out:
        raise UsageError("fetch needs --out=DIR, a directory for tables and study")
    asked = Asked(
        "".join(arguments),
        models=values.models or (),
        sources=sources_of(values.sources or ()),
        year=values.year,
        given=Given(values.id, values.lat, values.lon),
        target=values.target or (),
        kind=values.kind,
        workers=values.workers,
        task=values.task,
    )
    if values.dry_run:
        _print(fetch.plan(asked, values.out))
        return DONE
    progress = Progress()
    with progress.stop.listening():
        found = fetch.fetch(asked, values.out, progress)
    _print(str(found))
    study = shlex.quote(f"{neutral(found.output)}/{STUDY}")
    _print(f"\nTables: {neutral(found.output)}. `ecjax validate {study}` tells what is in them.")
    if found.late:
        raise Unavailable(
            f"{'; '.join(found.late.values())}. The same command goes on; without "
            f"{listing(found.late)} in --models there is nothing left to get"
        )
    return UNDEFINED if found.empty else DONE


def _status(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect(arguments, "status", ("DIR",))
    _print(str(status.status(arguments[0])))
    return DONE


def _compact(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect(arguments, "compact", ("DIR",))
    _print(status.compact(arguments[0]))
    return DONE


def _tasks(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect(arguments, "tasks", ())
    _print(label_sets.as_text(_terminal()[1]))
    return DONE


COMMANDS = {
    "demo": _demo,
    "validate": _validate,
    "plan": _plan,
    "evaluate": _evaluate,
    "overlap": _overlap,
    "scale": _scale,
    "report": _report,
    "compare": _compare,
    "fetch": _fetch,
    "status": _status,
    "compact": _compact,
    "tasks": _tasks,
}


def _study(path: str, values: flags.FlagValues) -> Study:
    if values.max_input_bytes < 0:
        raise UsageError("max_input_bytes: give bytes, or 0 for what the machine's memory allows")
    return read_study(path, values.max_input_bytes)


def _settings(values: flags.FlagValues) -> dict:
    """Arguments of `Settings` from those of a command's flags that were given."""
    others = "help", "h", "out", "results", "format", "max_input_bytes", *OF_PLANS
    given = [name for name in values if values[name].present and name not in others]
    return {name: values[name].value for name in given}


def _terminal() -> tuple[bool, int]:
    """Colour and width of standard output."""
    if not sys.stdout.isatty():
        return False, 100
    return "NO_COLOR" not in os.environ, max(60, os.get_terminal_size().columns)


def _expect(arguments: Sequence[str], command: str, names: tuple[str, ...]) -> None:
    if len(arguments) != len(names):
        wanted = f"ecjax {command} {' '.join(names)}".rstrip()
        raise UsageError(f"`{wanted} [--flags]` is wanted; given: {' '.join(arguments) or 'none'}")


def _expect_out(command: str, arguments: Sequence[str], values: flags.FlagValues) -> None:
    _expect(arguments, command, ("STUDY",))
    if not values.out:
        raise UsageError(f"{command} needs --out=DIR, a directory for the tables")


def _check_command(command: str) -> None:
    if command not in COMMANDS:
        raise UsageError(f"unknown command {neutral(command)}; there are {', '.join(COMMANDS)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv:
        print(options.usage(), file=sys.stderr)
        return USAGE
    try:
        starting.leave()  # from here on an interrupt is told below
        if argv[0] in ("help", "--help", "-h"):
            _print(options.usage())
            return DONE
        if argv[0] == "--version":
            _print(f"ecjax {ecjax.__version__}")
            return DONE
        command, *rest = argv
        _check_command(command)
        rest, values = options.parse(command, rest)
        if values.help:
            _print(options.help_of(command))
            return DONE
        return COMMANDS[command](rest, values)
    except UsageError as error:
        return _fail(str(error), USAGE)
    except InputError as error:
        return _fail(str(error), BAD_INPUT)
    except (store.WriteError, PeerLost, Unavailable) as error:
        return _fail(str(error), INTERRUPTED)
    except KeyboardInterrupt as interrupt:
        # A compiled call cannot be stopped; nothing is half-written, so the process may just go.
        _fail(f"interrupted; {str(interrupt) or 'nothing was half-written'}", INTERRUPTED)
        sys.stdout.flush()
        os._exit(INTERRUPTED)
    except Exception:
        detail = "" if "ECJAX_DEBUG" not in os.environ else f"\n{traceback.format_exc()}"
        kind, error = sys.exc_info()[:2]
        return _fail(
            f"internal error ({kind.__name__}: {neutral(error)}); please report it, with what "
            f"ECJAX_DEBUG=1 in the environment adds{detail}",
            USAGE,
        )


def _fail(message: str, code: int) -> int:
    print(f"ecjax: {message}", file=sys.stderr, flush=True)
    return code


def _print(text: str) -> None:
    """Prints to standard output; where its reader has gone, as `head` does, the rest is dropped."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        with contextlib.suppress(OSError):  # no file stands behind it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run() -> None:
    """Entry point of the console script."""
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done, and Python takes a while to end
    sys.exit(code)
