"""The command line: `ecjax COMMAND …`, absl flags, exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence

from absl import flags

import ecjax
from ecjax import demo, page, report, store
from ecjax.align import align, class_notes, describe
from ecjax.errors import InputError, UsageError, neutral
from ecjax.evaluate import Run
from ecjax.notes import in_words
from ecjax.progress import Progress
from ecjax.run_plan import as_text
from ecjax.settings import FLAGS_TO_COME, Settings, from_arguments
from ecjax.study import read_study

DONE, USAGE, BAD_INPUT, UNDEFINED, INTERRUPTED = 0, 1, 2, 3, 75
COMMANDS_TO_COME = ("overlap", "scale", "compare", "status", "compact", "tasks", "fetch")
USAGE_TEXT = """\
Which Earth embeddings are better together?

  ecjax demo [--out=ecjax-demo]        the whole job on a made-up world, in a few minutes
  ecjax validate STUDY                 reads everything, fits nothing
  ecjax plan STUDY                     time, memory and compilations of evaluate; fits nothing
  ecjax evaluate STUDY --out=DIR       every subset of embeddings on every task
  ecjax report DIR                     prints the summary, writes DIR/report.html

`ecjax COMMAND --help` lists the flags of a command."""


def _define(command: str) -> flags.FlagValues:
    """The flags of a command, apart from all other programs' flags."""
    values = flags.FlagValues()
    defaults = Settings()

    def add(define: Callable, name: str, default, text: str) -> None:
        define(name, default, text, flag_values=values)

    flags.DEFINE_bool("help", False, "Shows this help.", short_name="h", flag_values=values)
    if command in ("demo", "plan", "evaluate"):
        add(flags.DEFINE_integer, "seed", defaults.seed, "First seed; the demo's world too.")
        add(flags.DEFINE_float, "max_memory_gib", 0.0, "Budget; 0: 70 % of the device's memory.")
        add(flags.DEFINE_string, "require_platform", "", "cpu, gpu or tpu: fail without it.")
    if command == "demo":
        add(flags.DEFINE_string, "out", "ecjax-demo", "Directory for the tables.")
    if command == "evaluate":
        add(flags.DEFINE_string, "out", None, "Directory for the tables (required).")
    if command in ("plan", "evaluate"):
        add(flags.DEFINE_string, "protocol", defaults.protocol, "paper.")
        add(flags.DEFINE_integer, "folds", defaults.folds, "Number of folds.")
        add(flags.DEFINE_integer, "seeds", defaults.seeds, "Seed i is --seed + i.")
        add(flags.DEFINE_string, "split", defaults.split, "How rows go to folds: random.")
        add(flags.DEFINE_string, "penalty", defaults.penalty, "shared: one penalty per subset.")
        add(flags.DEFINE_list, "ridge_lambda", ["1"], "Ridge penalty; several are swept.")
        add(flags.DEFINE_list, "logistic_c", ["1"], "Inverse penalty C; several are swept.")
        tolerance = defaults.logistic_tolerance
        add(flags.DEFINE_float, "logistic_tolerance", tolerance, "Largest gradient norm.")
        add(flags.DEFINE_list, "subsets", [], "Wanted sets, e.g. a+b,a+b+c; default: all.")
        add(flags.DEFINE_integer, "max_subset_size", 0, "Largest number of models; 0: no cap.")
        add(flags.DEFINE_string, "precision", defaults.precision, "auto or float64.")
        add(flags.DEFINE_bool, "predictions", False, "Also write out-of-fold predictions.")
    return values


def _demo(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect(arguments, "demo", ())
    settings = from_arguments(_settings(values))
    result, reading = demo.run_demo(values.out, settings, Progress())
    print(report.summary(result.tables, result.manifest, *_terminal()))
    print()
    print(reading)
    return UNDEFINED if result.undefined else DONE


def _validate(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect(arguments, "validate", ("STUDY",))
    study = read_study(arguments[0])
    tasks = align(study)
    print(describe(tasks))
    folds = max(study.sweep.get("folds", [Settings().folds]))
    for task in tasks:
        for note in class_notes(task, int(folds)):
            print(f"  {in_words(note)}")
    return DONE


def _plan(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect(arguments, "plan", ("STUDY",))
    settings = from_arguments(_settings(values))
    study = read_study(arguments[0])
    plan = Run(study.name, align(study), settings, study.sweep, Progress()).plan()
    print(f"{neutral(study.name)}: what `ecjax evaluate` would take\n")
    print(as_text(plan, _terminal()[1]))
    return DONE


def _evaluate(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect(arguments, "evaluate", ("STUDY",))
    if not values.out:
        raise UsageError("evaluate needs --out=DIR, a directory for the tables")
    settings = from_arguments(_settings(values))
    study = read_study(arguments[0])
    run = Run(study.name, align(study), settings, study.sweep, Progress())
    result = run.evaluate(values.out)
    print(report.summary(result.tables, result.manifest, *_terminal()))
    print(f"\nTables: {neutral(values.out)}. `ecjax report {neutral(values.out)}` writes a page.")
    return UNDEFINED if result.undefined else DONE


def _report(arguments: Sequence[str], values: flags.FlagValues) -> int:
    _expect(arguments, "report", ("DIR",))
    names = ("scores", "index", "folds", "targets")
    tables, manifest = store.read_results(arguments[0], names=names)
    print(report.summary(tables, manifest, *_terminal()))
    print(f"\nPage: {neutral(page.write_page(arguments[0]))}")
    return DONE


COMMANDS = {
    "demo": _demo,
    "validate": _validate,
    "plan": _plan,
    "evaluate": _evaluate,
    "report": _report,
}


def _settings(values: flags.FlagValues) -> dict:
    """Arguments of `Settings` from a command's flags."""
    given = {name: values[name].value for name in values if name not in ("help", "h", "out")}
    for name in ("ridge_lambda", "logistic_c"):
        if name in given:
            try:
                given[name] = [float(text) for text in given[name]]
            except ValueError:
                raise UsageError(f"--{name}={','.join(given[name])}: give numbers") from None
    return given


def _terminal() -> tuple[bool, int]:
    """Colour and width of standard output."""
    if not sys.stdout.isatty():
        return False, 100
    return "NO_COLOR" not in os.environ, max(60, os.get_terminal_size().columns)


def _expect(arguments: Sequence[str], command: str, names: tuple[str, ...]) -> None:
    if len(arguments) != len(names):
        wanted = f"ecjax {command} {' '.join(names)}".rstrip()
        raise UsageError(f"`{wanted} [--flags]` is wanted; given: {' '.join(arguments) or 'none'}")


def _parse(argv: Sequence[str]) -> tuple[str, list[str], flags.FlagValues]:
    command = argv[0]
    if command in COMMANDS_TO_COME:
        raise UsageError(f"`ecjax {command}` is not there yet")
    if command not in COMMANDS:
        raise UsageError(f"unknown command {neutral(command)}; there are {', '.join(COMMANDS)}")
    values = _define(command)
    try:
        rest = values(["ecjax", *argv[1:]])[1:]
    except flags.UnrecognizedFlagError as error:
        if error.flagname in FLAGS_TO_COME:
            raise UsageError(f"--{error.flagname} is not there yet") from None
        raise UsageError(f"ecjax {command}: {error}") from None
    except flags.Error as error:
        raise UsageError(f"ecjax {command}: {error}") from None
    return command, rest, values


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("help", "--help", "-h"):
        print(USAGE_TEXT)
        return DONE if argv else USAGE
    if argv[0] == "--version":
        print(f"ecjax {ecjax.__version__}")
        return DONE
    try:
        command, rest, values = _parse(argv)
        if values.help:
            print(f"ecjax {command}\n\n{values.main_module_help() or values.get_help()}")
            return DONE
        return COMMANDS[command](rest, values)
    except UsageError as error:
        return _fail(str(error), USAGE)
    except InputError as error:
        return _fail(str(error), BAD_INPUT)
    except store.WriteError as error:
        return _fail(str(error), INTERRUPTED)
    except BrokenPipeError:
        return _fail("the reader of standard output has gone", INTERRUPTED)
    except KeyboardInterrupt:
        # A compiled call cannot be stopped; nothing has been written, so the process may just go.
        _fail("interrupted; nothing was half-written", INTERRUPTED)
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


def run() -> None:
    """Entry point of the console script."""
    sys.exit(main())
