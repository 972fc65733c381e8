"""BUILD says what the sources import, modules import only from above, importing does nothing else.

The checks take their text as an argument, so that they are tested too, on houses with a fault.
"""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 400  # lines of a module
# Top down: a module imports only from those named before it.
ORDER = (
    "errors keys atomic filesystems ranges remote limits parts places coordinates models "
    "torch_pickle torch_file location_encoder geoclip satclip transforms columns values quantised "
    "vectors binning polygons sweeps containers flatbuffers arrow_types arrow_files csv_files "
    "npy_files thrift parquet_footer parquet_files points id_column forms files study tables "
    "addresses web utm shards tessera label_sets hub_tables coordbench web_file geotiff "
    "alphaearth_index alphaearth leaks near_copies codes suspects sphere correlation pairs entropy "
    "variogram notes ids guard understood align arrays settings folds splits maps units inner "
    "subsets sums blas gram banded host host_folds host_nested host_between host_kept "
    "host_rechosen host_call stream_moments stream_fits softmax lbfgs ridge nested kept rechosen "
    "refine hat logistic_start logistic nested_logistic stream_softmax stream_descent "
    "stream_training stream_logistic probe program routes engine devices cost logistic_cost "
    "nested_cost precision pieces memory plan row_digest fingerprints stream_files stream_labels "
    "stream_order stream_checks stream_read engine_version bootstrap standard_errors loss_moments "
    "further intervals simultaneous scores baseline shapley commonality uncertainty "
    "complementarity strict_index chosen compared paired regions similarity products overlap_pairs "
    "outcome question results stream_cost stream_dealt stream_held_out stream_result "
    "stream_outcome stream_class_outcome stream_task stream_class_task analyses cells cell_file "
    "cell_pack cell_keys cell_store stop starting progress journal meetings peers processes "
    "profiling stream_kept stream_evaluate calls compute control refits encode report_files store "
    "rounding digest remarks report projection coastlines figures_base figures_sets figures_ranges "
    "figures_map figures_scale figures_svg figures layout latex markdown figure_files formats "
    "picture page_tables page_index page_scores page_where page_figures page_beside page_methods "
    "page_downloads page_style page_script page fragments plots result scaled_plan stream_plan "
    "run_plan manifest stream_run evaluate validation validate validation_text status evaluated "
    "overlap_correlation overlap scale_correlation scale compare_tests compare_text compare world "
    "truth demo own_encoder precomputed registry wanted study_text part_store fetch_files "
    "fetch_asked gather fetch __init__ options cli __main__"
).split()
SOLVERS = (
    "subsets blas gram banded host host_folds host_nested host_between host_kept host_rechosen "
    "host_call stream_moments stream_fits softmax lbfgs ridge nested kept rechosen refine hat "
    "logistic_start logistic nested_logistic stream_softmax stream_descent stream_training "
    "stream_logistic probe"
).split()
STATISTICS = (
    "correlation entropy variogram standard_errors loss_moments further intervals simultaneous "
    "scores baseline shapley commonality uncertainty complementarity strict_index chosen "
    "compared paired regions similarity overlap_correlation scale_correlation"
).split()
DISTRIBUTIONS = {"absl": "absl_py", "sklearn": "scikit_learn"}  # where not the import's own name
# By how a module is named.
OF_EXTRAS = {"filesystems": "cloud", "satclip": "cloud", "shards": "sources"}
OF_EXTRAS |= {"polygons": "geo", "figures": "plot", "plots": "plot"}
FOLDERS = ("ecjax", "tests", "experiments")


def sources(folder: str) -> dict[str, str]:
    """{path from the root: text} of a folder's Python files."""
    files = sorted((ROOT / folder).glob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in files}


ECJAX = {Path(path).stem: text for path, text in sources("ecjax").items()}
BESIDE = {Path(path).stem for folder in ("tests", "experiments") for path in sources(folder)}


EXPORTED = {
    alias.name
    for node in ast.parse(ECJAX["__init__"]).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}


def imported(text: str) -> set[str]:
    """Dotted names that a source imports, inside functions too; ecjax's always as ecjax.MODULE."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: import by full names, not relatively"
            if node.module == "ecjax":  # evaluate is a module and the function of that name
                wanted = {alias.name for alias in node.names}
                submodules = {name for name in wanted if name in ECJAX and name not in EXPORTED}
                names |= {f"ecjax.{name}" for name in submodules}
                names |= {"ecjax"} if wanted - submodules else set()
            else:
                names.add(node.module)
    return {"ecjax.__init__" if name == "ecjax" else name for name in names}


def modules(text: str) -> set[str]:
    """The modules of ecjax that a source imports."""
    return {name.split(".")[1] for name in imported(text) if name.startswith("ecjax.")}


def packages(text: str) -> set[str]:
    """Top-level names of everything else that a source imports."""
    return {name.split(".")[0] for name in imported(text)} - {"ecjax"}


def closure(name: str, house: dict[str, str]) -> set[str]:
    """A module and all modules of ecjax that come with it."""
    seen, waiting = set(), {name}
    while waiting:
        seen |= waiting
        waiting = set().union(*(modules(house[module]) for module in waiting)) - seen
    return seen


def dependencies(text: str) -> set[str]:
    """The Bazel labels of what a source imports."""
    labels = {f":{module}" for module in modules(text)}
    for package in packages(text) - set(sys.stdlib_module_names):
        label = f":{package}" if package in BESIDE else None
        labels.add(label or f"@pypi//{DISTRIBUTIONS.get(package, package)}")
    return labels


def targets(build: str) -> list[dict]:
    """Rule, name, srcs, main and deps of every Python target of a BUILD file."""
    found = []
    for node in ast.walk(ast.parse(build)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "").startswith("py_"):
            target = {"rule": node.func.id, "srcs": [], "deps": [], "main": None, "args": []}
            for key in node.keywords:
                if key.arg in ("name", "srcs", "deps", "main", "args"):
                    target[key.arg] = ast.literal_eval(key.value)
            found.append(target)
    return found


def expected_target(path: str) -> tuple[str, str]:
    """Rule and name of the target whose first source is this file."""
    folder, stem = Path(path).parent.name, Path(path).stem
    if path == "ecjax/__main__.py":
        return "py_binary", "ecjax"
    if folder == "experiments":
        return "py_binary", stem
    return ("py_test" if stem.endswith("_test") else "py_library"), stem


def build_faults(build: str, files: dict[str, str]) -> list[str]:
    """What a BUILD file says wrongly about these sources ({path: text}), one line each."""
    faults, owned = [], {"tests/conftest.py"}  # part of every test
    seen = set()
    for target in targets(build):
        name, srcs = target["name"], target["srcs"]
        if name in seen:
            faults.append(f"{name}: two targets of that name")
        seen.add(name)
        absent = [path for path in srcs if path not in files]
        if absent:
            faults.append(f"{name}: no such file: {', '.join(absent)}")
            continue
        own = [path for path in srcs if expected_target(path) == (target["rule"], name)]
        if target["rule"] == "py_test":
            want, main = [*own, "tests/conftest.py"], "tests/conftest.py"
            if target["args"] != [f"$(rootpath tests/{name}.py)"]:
                faults.append(f"{name}: args do not name its test file")
        else:
            want, main = own, target["main"] and srcs[0]
        if not own or sorted(srcs) != sorted(want) or target["main"] != main:
            faults.append(f"{name}: not the sources, main or rule that its name stands for")
        owned |= set(own)
        within = {f":{Path(path).stem}" for path in srcs}
        needed = set().union(*(dependencies(files[path]) for path in srcs)) - within
        faults += [f"{name}: lacks {label}" for label in sorted(needed - set(target["deps"]))]
        faults += [f"{name}: needs no {label}" for label in sorted(set(target["deps"]) - needed)]
    return faults + [f"{path}: has no target" for path in sorted(set(files) - owned)]


def length_faults(house: dict[str, str]) -> list[str]:
    """Modules that are too long to be read in one sitting."""
    lengths = {module: len(text.splitlines()) for module, text in house.items()}
    return [f"{module}: has {n} lines" for module, n in lengths.items() if n > LONGEST]


def order_faults(house: dict[str, str]) -> list[str]:
    """Modules that the order lacks or that are not there, and imports from below."""
    faults = [f"{module}: has no place in ORDER" for module in sorted(set(house) - set(ORDER))]
    faults += [f"{module}: in ORDER, not in ecjax/" for module in ORDER if module not in house]
    for module in (module for module in ORDER if module in house):
        above = ORDER[: ORDER.index(module)]
        faults += [
            f"{module}: imports {other}, which does not stand above it"
            for other in sorted(modules(house[module]) - set(above))
        ]
    return faults


def solver_faults(house: dict[str, str]) -> list[str]:
    """Solvers that come with files, names or frames; statistics that come with solvers."""
    faults = []
    for solver in SOLVERS:
        for module in sorted(closure(solver, house)):
            if module not in ("errors", *SOLVERS):
                faults.append(f"{solver}: comes with {module}")
            strangers = packages(house[module]) & {"pandas", "pyarrow"}
            faults += [f"{solver}: comes with {package}" for package in sorted(strangers)]
    for statistic in STATISTICS:
        known = sorted(closure(statistic, house) & {*SOLVERS, "program", "routes", "engine"})
        faults += [f"{statistic}: comes with {module}" for module in known]
    return faults


def test_build_says_what_the_sources_import():
    files = {path: text for folder in FOLDERS for path, text in sources(folder).items()}
    assert build_faults((ROOT / "BUILD").read_text("utf-8"), files) == []


def test_modules_import_only_from_above():
    assert order_faults(ECJAX) == []


def test_modules_are_short():
    assert length_faults(ECJAX) == []
    assert length_faults({"store": "a = 1\n" * 401, "keys": "a = 1\n" * 400}) == [
        "store: has 401 lines"
    ]


def test_solvers_know_no_files_and_statistics_no_solver():
    assert solver_faults(ECJAX) == []


@pytest.mark.parametrize("module", ECJAX)
def test_imports_are_declared_as_run_time_dependencies(module):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = list(project["dependencies"])
    for start, extra in OF_EXTRAS.items():  # imported inside functions, where they are asked for
        lines += project["optional-dependencies"][extra] if module.startswith(start) else []
    declared = {line.split(">")[0].replace("-", "_") for line in lines}
    known = packages(ECJAX[module]) - set(sys.stdlib_module_names)
    assert "sklearn" not in known
    assert {DISTRIBUTIONS.get(package, package) for package in known} <= declared


# A house of two modules and its tests, right as it stands.
HOUSE = {
    "ecjax/errors.py": "import os\n",
    "ecjax/keys.py": "def f():\n    from ecjax.errors import quote\n",
    "tests/keys_test.py": "import absl.flags\nfrom ecjax import keys\n",
    "tests/conftest.py": "import pytest\n",
}
BUILD = """
py_library(name = "errors", srcs = ["ecjax/errors.py"])
py_library(name = "keys", srcs = ["ecjax/keys.py"], deps = [":errors"])
py_test(
    name = "keys_test",
    srcs = ["tests/keys_test.py", "tests/conftest.py"],
    args = ["$(rootpath tests/keys_test.py)"],
    main = "tests/conftest.py",
    deps = [":keys", "@pypi//absl_py", "@pypi//pytest"],
)
"""


def test_a_right_build_has_no_faults():
    assert build_faults(BUILD, HOUSE) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('deps = [":errors"]', "deps = []", "keys: lacks :errors"),
        ('deps = [":keys", ', "deps = [", "keys_test: lacks :keys"),
        ('"@pypi//absl_py", ', "", "keys_test: lacks @pypi//absl_py"),
        ('[":errors"]', '[":errors", "@pypi//optax"]', "keys: needs no @pypi//optax"),
        ("ecjax/keys.py", "ecjax/key.py", "keys: no such file: ecjax/key.py"),
        ('py_library(name = "errors", srcs = ["ecjax/errors.py"])', "", "ecjax/errors.py: has no"),
        ('name = "errors"', 'name = "error"', "error: not the sources, main or rule"),
        ('name = "errors"', 'name = "keys"', "keys: two targets of that name"),
        ("py_test", "py_library", "keys_test: not the sources, main or rule"),
        ("rootpath tests/keys", "rootpath tests/errors", "keys_test: args do not name"),
    ],
)
def test_a_wrong_build_is_found(old, new, fault):
    assert BUILD.count(old) == 1
    faults = build_faults(BUILD.replace(old, new), HOUSE)
    assert any(line.startswith(fault) for line in faults), faults


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        ("errors", "from ecjax.keys import check_known", "errors: imports keys, which"),
        ("gram", "def f():\n    from ecjax import ridge", "gram: imports ridge, which"),
        ("store", "from ecjax import evaluate", "store: imports __init__, which"),
        ("demo", "import ecjax.cli", "demo: imports cli, which"),
        ("attic", "", "attic: has no place in ORDER"),
    ],
)
def test_an_import_from_below_is_found(module, line, fault):
    house = {**ECJAX, module: f"{ECJAX.get(module, '')}\n{line}\n"}
    assert any(known.startswith(fault) for known in order_faults(house))


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        ("ridge", "import pandas as pd", "ridge: comes with pandas"),
        ("softmax", "from ecjax.tables import read_task", "logistic: comes with tables"),
        ("uncertainty", "from ecjax import ridge", "uncertainty: comes with ridge"),
        ("scores", "from ecjax.engine import study", "scores: comes with engine"),
        ("scores", "from ecjax.program import Penalties", "scores: comes with program"),
    ],
)
def test_a_solver_that_knows_too_much_is_found(module, line, fault):
    assert fault in solver_faults({**ECJAX, module: f"{ECJAX[module]}\n{line}\n"})


# What JAX does when it is imported is JAX's; what ecjax adds is compared with it.
IMPORT = """
import json, os, sys, time
import jax
from jax._src import xla_bridge
def state():
    options = {name: repr(value) for name, value in jax.config.values.items()}
    return {"environment": dict(os.environ), "options": options}
before = state()
start = time.perf_counter()
import ecjax
seconds = time.perf_counter() - start
print(json.dumps({
    "before": before,
    "after": state(),
    "backends": list(xla_bridge._backends),
    "heavy": sorted({"scipy.stats", "sklearn", "matplotlib"} & set(sys.modules)),
    "seconds": seconds,
}))
"""


def test_importing_sets_nothing_and_starts_nothing():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(f"import ecjax, after jax: {found['seconds']:.2f} s")
    assert found["after"]["options"] == found["before"]["options"]
    assert len(found["after"]["options"]) > 50  # the comparison has something to compare
    assert found["after"]["environment"] == found["before"]["environment"]
    assert found["backends"] == []
    assert found["heavy"] == []
