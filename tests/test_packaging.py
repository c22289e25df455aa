"""What holds the project together: pins, the order of imports, file sizes, the commands that the README promises."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("pip install -e . && sesn report", "pip install -e '.[test]' && pytest")
MOST_LINES = 315
MOST_IN_FUNCTION = 50

# Bottom first: a module imports from lines above its own; those of one line may know each other, but not in a circle.
ORDER = {
    "data_prep": """
        checksums files archives download rescaling splits
        fileset
        sources stl10 realizations
        preparation synthetic
        mnist_scale commands
        __main__
    """,
    "sesn_lib": """
        checks
        paths machine
        provenance
        basis
        layers equivariance
        models
        fast
        data
        experiments
        training
        store
        runner
        analysis
        plotting
        report
        cli __main__
    """,
}
REPORT_ONLY = {"analysis", "plotting", "report"}
ALLOWED = {
    "torch", "torchvision", "numpy", "scipy", "PIL", "sklearn", "yaml", "tqdm", "typer", "click", "rich", "filelock",
    "data_prep", "sesn_lib",
}  # fmt: skip
FORBIDDEN = (
    "papermill", "nbformat", "nbclient", "nbconvert", "jupyter_client", "jupyterlab", "IPython", "ipykernel",
    "ipywidgets", "matplotlib", "pandas", "statsmodels", "bs4", "latex2mathml", "ziamath", "submitit", "weasyprint",
)  # fmt: skip


# Pins


def requirement_lines() -> tuple[list[str], list[str]]:
    """(pyproject's dependencies, the pip section of environment.yml), both sorted."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    return sorted(project["dependencies"]), sorted(line for line in pip if line != "-e .")


def test_environment_has_the_pins_of_pyproject() -> None:
    project, environment = requirement_lines()
    assert environment == project


def locked() -> dict[str, str]:
    """Versions by name, as the constraints file fixes them."""
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(len(pin.specifier) == 1 and str(pin.specifier).startswith("==") for pin in pins)
    assert not any(pin.extras or pin.url for pin in pins), "pip takes no extras in constraints"
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


def outside(requirements: Iterable[str], pins: dict[str, str]) -> list[str]:
    """The requirements that the pins do not meet."""
    parsed = [Requirement(line) for line in requirements]
    return [
        str(need)
        for need in parsed
        if canonicalize_name(need.name) != "sesn-report"
        and not need.specifier.contains(pins.get(canonicalize_name(need.name), "0"))
    ]


def test_the_lock_agrees_with_pyproject_and_environment() -> None:
    """The file is made by uv; what it fixes is what both files ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    _, environment = requirement_lines()
    pins = locked()
    assert outside([*project["dependencies"], *extras, *environment], pins) == []
    assert outside(["torch>=2.12", "numpy>=1.26", "absent>=1"], pins) == ["torch>=2.12", "absent>=1"]  # control
    assert (pins["torch"], pins["torchvision"]) == ("2.11.0", "0.26.0")


def test_torch_is_a_range_up_to_what_the_report_was_made_with() -> None:
    """A fresh install takes the newest: 2.11.0 and 0.26.0, the last that were tested."""
    project = {Requirement(line).name: Requirement(line).specifier for line in requirement_lines()[0]}
    for name, inside, too_new, too_old in (
        ("torch", ("2.6.0", "2.11.0"), "2.12.0", "2.5.1"),
        ("torchvision", ("0.21.0", "0.26.0"), "0.27.0", "0.20.1"),
    ):
        assert all(project[name].contains(version) for version in inside)
        assert not project[name].contains(too_new)
        assert not project[name].contains(too_old)


def test_every_package_and_template_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("sesn_lib", "data_prep")
        for path in (ROOT / top).rglob("__init__.py")
    }
    patterns = settings["packages"]["find"]["include"]
    assert {name for name in found if not any(fnmatch(name, pattern) for pattern in patterns)} == set()
    assert not any(fnmatch(name, pattern) for name in ("tests", "notebooks") for pattern in patterns)
    templates = settings["package-data"]["sesn_lib.report"]
    report = ROOT / "sesn_lib" / "report"
    covered = {path for pattern in templates for path in report.glob(pattern)}
    assert covered == {path for path in (report / "template").rglob("*") if path.is_file()}


# The commands


def test_readme_prints_both_commands_verbatim() -> None:
    lines = [line.strip() for line in (ROOT / "README.md").read_text().splitlines()]
    for command in COMMANDS:
        assert command in lines
    first_screen = (ROOT / "README.md").read_text()[:2500]
    assert all(command in first_screen for command in COMMANDS)
    assert re.search(r"!\[[^\]]{20,}\]\(([^)]+\.png)\)", first_screen), "one figure with alternative text"


def test_readme_links_and_figures_exist() -> None:
    text = (ROOT / "README.md").read_text()
    targets = [target for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_ci_runs_the_printed_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert f"({COMMANDS[1]})" in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "bash .ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()


# The order of imports


def imports(path: Path, *, inside_functions: bool = True) -> set[str]:
    """Dotted names of the modules that a file imports, relative ones resolved."""
    package = list(path.relative_to(ROOT).parts[:-1])
    tree = ast.parse(path.read_text())
    nodes: Iterable[ast.AST] = ast.walk(tree) if inside_functions else _outside_functions(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def _outside_functions(tree: ast.AST) -> Iterable[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not typing_only:
            yield node
            yield from _outside_functions(node)


def module_of(path: Path) -> str:
    """First name below the top package, e.g. `models` for sesn_lib/models/zoo.py."""
    return path.relative_to(ROOT).with_suffix("").parts[1]


def downward(importer: str, names: Iterable[str], package: str) -> list[str]:
    """The imports that point the wrong way. Raises ValueError for a module that has no place in the order."""
    place = {name: (row, column) for row, line in enumerate(rows(package)) for column, name in enumerate(line)}
    if importer not in place:
        raise ValueError(f"{package}.{importer} has no place in ORDER: put it where its imports allow")
    wrong = []
    for name in names:
        parts = name.split(".")
        if parts[0] != package or len(parts) < 2 or parts[1] == importer or parts[1] not in place:
            continue
        if place[parts[1]][0] > place[importer][0]:
            wrong.append(name)
    return wrong


def rows(package: str) -> list[list[str]]:
    return [line.split() for line in ORDER[package].strip().splitlines()]


def sources(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py") if path.parts[-2:] != (package, "__init__.py"))


@pytest.mark.parametrize("package", ["sesn_lib", "data_prep"])
def test_imports_point_upwards_only(package: str) -> None:
    wrong = {str(path.name): downward(module_of(path), imports(path), package) for path in sources(package)}
    assert {name: names for name, names in wrong.items() if names} == {}


def test_the_import_check_notices_a_wrong_direction_and_an_unknown_module() -> None:
    assert downward("basis", {"sesn_lib.store.Store", "torch"}, "sesn_lib") == ["sesn_lib.store.Store"]
    with pytest.raises(ValueError, match="no place"):
        downward("novelty", set(), "sesn_lib")


@pytest.mark.parametrize("package", ["sesn_lib", "data_prep"])
def test_no_import_cycles(package: str) -> None:
    graph = {}
    for path in sources(package):
        names = {name.split(".")[1] for name in imports(path) if name.startswith(package + ".")}
        graph.setdefault(module_of(path), set()).update(names - {module_of(path)})
    assert cycle(graph) is None
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) is not None  # negative control


@pytest.mark.slow
def test_the_plan_has_few_wings_and_arrows() -> None:
    """Which wing imports which: a new arrow is a choice, and this its place to be made."""
    arrows = {(wing_of(path), wing) for path in everything() for wing in map(box, imports(path)) if wing}
    arrows = {(a, b) for a, b in arrows if a != b}
    assert len({wing for arrow in arrows for wing in arrow}) <= 21
    assert len(arrows) <= 70
    assert ("runner", "store") in arrows
    assert not {("store", "runner"), ("analysis", "models"), ("experiments", "models")} & arrows


def everything() -> list[Path]:
    return [*sources("sesn_lib"), *sources("data_prep")]


def wing_of(path: Path) -> str:
    return "data_prep" if path.relative_to(ROOT).parts[0] == "data_prep" else module_of(path)


def box(name: str) -> str:
    """The wing of an imported name; empty for other packages and for what stands at the top itself."""
    parts = name.split(".")
    return "data_prep" if parts[0] == "data_prep" else parts[1] if parts[0] == "sesn_lib" and len(parts) > 1 else ""


def cycle(graph: dict[str, set[str]]) -> list[str] | None:
    """Some cycle of a graph, or None: names are taken away as long as one imports nothing that is left."""
    left = {name: set(targets) & set(graph) for name, targets in graph.items()}
    while left:
        free = [name for name, targets in left.items() if not targets & set(left)]
        if not free:
            return sorted(left)
        for name in free:
            del left[name]
    return None


def test_data_prep_knows_nothing_of_the_library() -> None:
    paths = (ROOT / "data_prep").rglob("*.py")
    assert [path.name for path in paths if any(n.split(".")[0] == "sesn_lib" for n in imports(path))] == []


def test_what_a_module_says_is_public_is_there() -> None:
    """`__all__` stands at the doors: packages, wings of one file, modules that hand on the names of others."""
    doors = [
        path
        for top in ("sesn_lib", "data_prep")
        for path in (ROOT / top).rglob("*.py")
        if "__all__" in path.read_text()
    ]
    assert {"layers.py", "equivariance.py", "paths.py", "mnist_scale.py"} <= {path.name for path in doors}
    for path in doors:
        module = importlib.import_module(
            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        )
        assert absent(module, module.__all__) == [], path
    assert absent(importlib.import_module("sesn_lib.store"), ["Store", "Shop", "_private", "Store"]) == [
        "Shop", "_private", "Store",
    ]  # fmt: skip


def absent(module: ModuleType, names: Sequence[str]) -> list[str]:
    """Names that a module does not have, that are private, or that stand there before."""
    return [
        name for place, name in enumerate(names)
        if not hasattr(module, name) or name.startswith("_") or name in names[:place]
    ]  # fmt: skip


# The training path


def test_training_path_imports_only_what_a_bare_machine_has() -> None:
    standard = set(sys.stdlib_module_names)
    strangers = {}
    for path in [*sources("sesn_lib"), *sources("data_prep")]:
        if path.parts[-2] == "data_prep" or module_of(path) not in REPORT_ONLY:
            top = {name.split(".")[0] for name in imports(path, inside_functions=False)} - standard - ALLOWED - {""}
            strangers.update({str(path.relative_to(ROOT)): top} if top else {})
    assert strangers == {}


def run_blocked(code: str) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process in which the report's packages cannot be imported."""
    program = f"import sys\nsys.modules.update(dict.fromkeys({FORBIDDEN!r}))\n{code}"
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_training_runs_without_the_packages_of_the_report() -> None:
    done = run_blocked(
        "import sesn_lib.runner.execution, sesn_lib.training, sesn_lib.models, sesn_lib.runner, data_prep.mnist_scale\n"
        "import sesn_lib.runner.audit, sesn_lib.runner.readings, sesn_lib.runner.probes, sesn_lib.runner.bench\n"
        "assert not {'torchvision', 'torch._dynamo'} & set(sys.modules), 'seconds that only downloads and steps need'\n"
        "from sesn_lib.cli import main\nmain(['train', '--help'])"
    )
    assert done.returncode == 0, done.stderr
    assert "mnist_ses_vector_28" in done.stdout


@pytest.mark.slow
def test_layers_bases_and_models_need_torch_and_numpy_alone() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["20", "scipy"]


BEYOND = sorted((ALLOWED | set(FORBIDDEN)) - {"torch", "numpy", "sesn_lib", "filelock"})  # torch brings filelock
ALONE = f"""
import sys

class Absent:
    '''Finds nothing of what the report needs: packages that torch and numpy do without.'''
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BEYOND!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import torch
from sesn_lib import basis, equivariance, fast, layers, models

image = torch.zeros(1, 1, 28, 28)
layers.ConvTH(1, 2, 7, 3, [1.0, 1.4], basis="A")(image)
networks = [name for name in models.names() if name.startswith("mnist") and "dss" not in name]
for name in networks[::6]:
    fast.accelerate(models.build(name).eval())(image)
try:
    models.build("mnist_dss_scalar_28")
except ModuleNotFoundError as error:
    print(len(networks), error.name.partition(".")[0])
"""


@pytest.mark.slow
def test_the_block_is_real() -> None:
    done = run_blocked("import sesn_lib.report.execute")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


# Files


def test_files_are_short() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in [*sources("sesn_lib"), *sources("data_prep")]
    }
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}
    assert max(lengths.values()) > 100  # the check sees real files


def test_functions_are_short() -> None:
    """But for two commands, which declare an option a line."""
    lengths = {
        f"{path.relative_to(ROOT)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in everything()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    long = {name for name, length in lengths.items() if length > MOST_IN_FUNCTION}
    assert long == {f"sesn_lib/cli/run_commands.py: {command}" for command in ("run", "train")}


def test_nothing_unexpected_at_the_top_level() -> None:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True)
    if listed.returncode != 0 or not listed.stdout:
        pytest.skip("not a git checkout: what is tracked cannot be told")
    top = {name.split("/")[0] for name in listed.stdout.splitlines()}
    expected = {
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "environment.yml",
        "pyproject.toml",
        "LICENSE",
        "notebooks",
        "data_prep",
        "sesn_lib",
        "tests",
    }
    assert {name for name in top if not name.startswith(".")} <= expected
