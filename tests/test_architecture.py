"""The rules of the house, read off the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCIENCE = sorted((ROOT / "imssl").rglob("*.py"))
MODULES = SCIENCE + sorted((ROOT / "bench").rglob("*.py"))
# What imssl may not know of: the suite, DVC, the command line, HTML.
FORBIDDEN = {
    "bench",
    "dvc",
    "dvclive",
    "typer",
    "jinja2",
    "rich",
    "altair",
    "itables",
    "ray",
    "matplotlib",
    "mlcroissant",
}
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
GLOBAL_DRAWS = {"seed", "rand", "randn", "randint", "random", "shuffle", "permutation", "choice", "normal"}
LONGEST = 320
# The folders of bench/, from the bottom up: each may import those before it, and none after it.
FLOORS = (
    "protocol",
    "cells",
    "machine",
    "conformance",
    "forecast",
    "methods",
    "datasets",
    "summary",
    "analysis",
    "report",
    "stages",
    "tuning",
    "perf",
    "launch",
    "tracking",
    "trust",
    "sharing",
    "studies",
    "export",
    "project",
    "commands",
)
# Their modules are named after what others are about: verbs, stages, settings, benchmarks, checks.
NAMED_AFTER_OTHERS = (
    "bench/commands/",
    "bench/stages/",
    "bench/perf/groups/",
    "bench/conformance/",
    "imssl/settings/",
)
# Names that several other modules share, each the right word in its folder.
SHARED_NAMES = {
    "archive", "calibration", "differences", "encoder", "files", "listing", "pack", "reports",
    "standings", "subgroups", "table",
}  # fmt: skip
MOST_MODULES = 10
# Folders with more, each for a reason: one file per data source, method or section of params.yaml, and the
# science side by side.
LARGER = {"imssl", "imssl/datasets", "imssl/methods", "imssl/settings"}
# Folders within one, from the bottom up; what stands side by side imports nothing of its neighbours.
WITHIN = {
    "commands": ("terminal", "data_and_methods results running"),
    "conformance": ("surroundings", "rules"),
    "report": ("material", "answer charts tables", "pages"),
}
# Beside the folders: what starts the suite.
AT_THE_TOP = {"__init__", "__main__", "cli", "stage"}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def imports(path):
    """Top-level packages that a module imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def imported_modules(path):
    """Dotted names of the modules of both packages that a module imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in NAMES else node.module


def dotted(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {dotted(path): path for path in MODULES}


def calls(path):
    """(dotted name, keywords) of every call in a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield (
                ast.unparse(node.func),
                {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords},
            )


def test_the_scan_sees_the_packages():
    names = {name_of(path) for path in MODULES}
    assert {"imssl/pretrain.py", "imssl/methods/moco.py", "bench/cli.py"} <= names
    assert "torch" in imports(ROOT / "imssl" / "pretrain.py")
    assert "torch.load" in {name for name, _ in calls(ROOT / "imssl" / "checkpoint.py")}


@pytest.mark.parametrize("path", SCIENCE, ids=name_of)
def test_the_science_does_not_know_the_suite(path):
    assert not imports(path) & FORBIDDEN


@pytest.mark.parametrize("path", [path for path in SCIENCE if path.parent.name == "settings"], ids=name_of)
def test_settings_do_not_need_torch(path):
    assert not imports(path) & {"torch", "torchvision", "numpy"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_unpickled(path):
    assert not imports(path) & PICKLES
    for name, keywords in calls(path):
        if name == "torch.load":
            assert keywords.get("weights_only") == "True", name
        if name in ("np.load", "numpy.load"):
            assert keywords.get("allow_pickle") == "False", name
        assert name not in ("pd.read_pickle", "pandas.read_pickle", "torch.package.PackageImporter")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_short_and_say_what_they_are(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST
    assert ast.get_docstring(ast.parse(text))
    assert path.stem not in {"utils", "util", "helpers", "helper", "misc", "common", "tools"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_global_random_state(path):
    """Draws come from a generator that is passed in; `imssl.torch_seeds` alone seeds torch, for weights."""
    for name, keywords in calls(path):
        assert name not in {f"{module}.random.{draw}" for module in ("np", "numpy") for draw in GLOBAL_DRAWS}
        if name in ("torch.manual_seed", "torch.cuda.manual_seed_all", "random.seed"):
            raise AssertionError(f"{name} changes a global generator")
        if name in ("torch.randperm", "torch.rand", "torch.randint"):
            assert "generator" in keywords, name


def test_the_folders_of_the_suite_are_those_of_the_plan():
    folders = {path.parent.name for path in (ROOT / "bench").glob("*/__init__.py")}
    assert folders == set(FLOORS)
    assert {path.stem for path in (ROOT / "bench").glob("*.py")} == AT_THE_TOP


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.is_relative_to(ROOT / "bench")], ids=name_of
)
def test_a_folder_imports_only_folders_below_it(path):
    folder = path.relative_to(ROOT / "bench").parts[0]
    if folder not in FLOORS:
        return
    for module in imported_modules(path):
        package, *inside = module.split(".")
        if package == "bench" and inside and inside[0] != folder:
            assert inside[0] in FLOORS[: FLOORS.index(folder)], f"{name_of(path)} imports {module}"


def test_no_module_imports_itself_by_way_of_others():
    """The first circle, if there is one, is named whole."""
    imports = {name: sorted(set(imported_modules(path)) & NAMES.keys()) for name, path in NAMES.items()}
    cleared = set()

    def follow(name, way):
        assert name not in way, " imports ".join([*way[way.index(name) :], name])
        if name not in cleared:
            for other in imports[name]:
                follow(other, [*way, name])
            cleared.add(name)

    for name in imports:
        follow(name, [])


@pytest.mark.parametrize("folder", FLOORS)
def test_a_folder_holds_what_one_can_take_in(folder):
    """Four to ten files, and one line that says what they have in common."""
    files = modules_of(ROOT / "bench" / folder)
    assert 4 <= len(files) <= MOST_MODULES, [path.name for path in files]
    assert ast.get_docstring(ast.parse((ROOT / "bench" / folder / "__init__.py").read_text(encoding="utf-8")))


@pytest.mark.parametrize("folder", FLOORS)
def test_folders_within_a_folder_have_an_order_too(folder):
    floors = {name: floor for floor, names in enumerate(WITHIN.get(folder, ())) for name in names.split()}
    for path in (ROOT / "bench" / folder).glob("*/*.py"):
        for module in imported_modules(path):
            parts = module.split(".")
            neighbour = parts[2] if parts[:2] == ["bench", folder] and len(parts) > 2 else path.parent.name
            if neighbour != path.parent.name and (ROOT / "bench" / folder / neighbour).is_dir():
                assert floors.get(neighbour, 0) < floors.get(path.parent.name, 0), (
                    f"{name_of(path)}: {module}"
                )


def modules_of(folder):
    """What lies in a package: its modules and the packages below it."""
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    return modules + [path.parent for path in folder.glob("*/__init__.py")]


def test_a_package_has_ten_modules_at_most_wherever_it_lies():
    packages = {name_of(path.parent): path.parent for path in MODULES if path.name == "__init__.py"}
    del packages["bench"]  # its folders are those of FLOORS
    larger = {name for name, folder in packages.items() if len(modules_of(folder)) > MOST_MODULES}
    assert larger == LARGER


def test_a_module_has_its_name_to_itself():
    homes = {}
    for path in MODULES:
        if path.name != "__init__.py" and not name_of(path).startswith(NAMED_AFTER_OTHERS):
            homes.setdefault(path.stem, []).append(name_of(path))
    shared = {name: paths for name, paths in homes.items() if len(paths) > 1}
    assert {name: paths for name, paths in shared.items() if name not in SHARED_NAMES} == {}
    assert shared.keys() == SHARED_NAMES, "a name here that is shared no longer can go from the list"


def test_a_class_has_its_name_to_itself():
    """One meaning a word: no two modules of the project define public classes of the same name."""
    homes = {}
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(name_of(path))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}
