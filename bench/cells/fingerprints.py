"""Fingerprints of the code behind each stage and method: what a number depends on, found by following names.

A hand-written list of source files is either too coarse (every edit reruns everything) or forgets one. So a
stage's file, or a method's, is parsed and its names are followed: what it takes from a module of `imssl`,
what that refers to, and what importing a module runs in any case. Counted is the parsed code, without
comments, docstrings and layout. Of `bench` only the stage's own file counts, and what makes rows of scores:
the rest of the suite moves files and draws tables, and what it passes on is in a cell's key by value.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import bench
import imssl
from bench.cells.files import STORE, write_json
from bench.protocol.protocol import Protocol
from bench.protocol.registry import method_file
from bench.protocol.source_files.at_start import sources_at_start
from bench.protocol.source_files.parsing import IMPORTED, Source, Target, as_json, from_json, parsed
from bench.protocol.source_files.places import own_methods

IMSSL = Path(imssl.__file__).parent
STAGES = Path(bench.__file__).parent / "stages"

# Of the suite, the module that says which numbers a cell holds.
SCORES = "bench.cells.scores"

# What is known of source files, by the SHA-256 of their content: an edited file has another one, so nothing
# here is ever stale. The form's number rises when that module looks at a file otherwise.
FORM = 1
KNOWN_SOURCES = STORE / "sources.json"

# Modules that a module only watches by: the kNN score of pretraining is a curve, by which nothing is chosen,
# so an encoder does not depend on how it is scored.
WATCHES_BY = {"imssl.monitor": ("imssl.metrics", "imssl.knn")}
# What the suite calls for a stage and hands to it, where the stage uses the module.
HANDED = {"imssl.device": "select_device", "imssl.datasets.prepared": "read_prepared"}

Fingerprint = dict[str, str]
# A file and the name of a piece of it.
Place = tuple[Path, str]


def stage_fingerprint(stage: str, *modules: str) -> Fingerprint:
    """SHA-256 of the code that a stage can run, by path of the file that it is in.

    Of the stage's file, what it imports from the suite does not count: a module that moves changes no number.

    Args:
        stage: its name.
        modules: of imssl, that the stage imports by their names; they count as a whole.

    Raises:
        SyntaxError: a file cannot be parsed.
    """
    by_name = [file for module in modules for file in _files_of(module) if file in _contents()]
    return _fingerprint(STAGES / f"{stage}.py", *by_name)


def method_fingerprint(method: str, protocol: Protocol) -> Fingerprint:
    """SHA-256 of the code that a method can run, by path of the file that it is in.

    Raises:
        SyntaxError: a file cannot be parsed.
    """
    return _fingerprint(method_file(method, protocol), IMSSL / "methods" / "__init__.py")


def module_fingerprint(name: str) -> Fingerprint:
    """SHA-256 of a module of imssl and of every other that it can import, by path."""
    return _fingerprint(*(file for file in _files_of(name) if file in _contents()))


def reached_modules(content: bytes, place: Path) -> list[str]:
    """Modules that a method file imports, and those of imssl that these import in turn, by dotted name.

    Args:
        content: of the file.
        place: where it lies or is to lie, for its relative imports.
    """
    direct = _loaded_by(parsed(content, str(place)), place)
    loaded: set[Path] = set()
    waiting = [file for module in direct for file in _files_of(module)]
    while waiting:
        file = waiting.pop()
        if file not in loaded:
            loaded.add(file)
            waiting += [other for module in _loaded_by(_source(file), file) for other in _files_of(module)]
    return sorted({*direct, *(_module_of(file) for file in loaded)})


def _loaded_by(source: Source, importer: Path) -> list[str]:
    """Names of all modules that a file imports, also inside its functions."""
    targets = [target for piece in source.values() for target in piece.loads]
    return [module for target in targets for module in _modules(target, importer)]


def digest(fingerprint: Fingerprint) -> str:
    """One SHA-256 over a fingerprint."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()


@cache
def _fingerprint(*entries: Path) -> Fingerprint:
    already_known = len(_known_sources())
    code: dict[Path, dict[str, str]] = {}
    for file, name in _reached(entries):
        # What a name stands for belongs to the code that uses it: `from torch import sin as f`.
        content = json.dumps([_source(file)[name].sha, _used_bindings(file, name)], sort_keys=True)
        code.setdefault(file, {})[name] = hashlib.sha256(content.encode()).hexdigest()
    if len(_known_sources()) > already_known:
        _keep_sources()
    return {_noted(file).as_posix(): digest(pieces) for file, pieces in sorted(code.items())}


def source_file(name: str) -> Path:
    """The file that a fingerprint notes under a name."""
    file = IMSSL.parent / name
    of_project = own_methods() / file.name
    is_of_project = file.parent == IMSSL / "methods" and not file.exists() and of_project.is_file()
    return of_project if is_of_project else file


def _noted(file: Path) -> Path:
    """The name under which a fingerprint notes a file: its place in the suite, also of an own method file."""
    if file.parent == own_methods():
        return Path(IMSSL.name, "methods", file.name)
    return file.relative_to(IMSSL.parent)


def _reached(entries: tuple[Path, ...]) -> Iterator[Place]:
    """All code that can run, from files that are entered as a whole."""
    waiting = [place for entry in entries for place in _whole(entry)]
    reached: set[Place] = set()
    of_stage = entries[0].parent == STAGES
    while waiting:
        place = waiting.pop()
        if place in reached:
            continue
        reached.add(place)
        file, name = place
        piece = _source(file)[name]
        if not piece.does_nothing:
            yield place
        waiting.append((file, IMPORTED))
        if of_stage and _module_of(file) in HANDED:
            waiting += _named(file, HANDED[_module_of(file)])
        for target in piece.loads:
            waiting += _imported(file, target)
        for chain in piece.uses:
            waiting += _meant_by(file, name, chain)


def _whole(file: Path) -> list[Place]:
    return [(file, name) for name in _source(file)]


def _imported(importer: Path, target: Target) -> list[Place]:
    """What runs when a statement imports its module, whatever is used of it."""
    if _is_watched_by(importer, target):
        return []
    modules = _modules(target, importer)
    places = [(file, IMPORTED) for module in modules for file in _files_of(module)]
    if target[2] == "*":  # every name may be used
        places += [place for file in _files_of(modules[0])[-1:] for place in _whole(file)]
    return places


def _meant_by(file: Path, name: str, chain: str) -> list[Place]:
    """The code that a name with its attributes, such as ``metrics.scores``, stands for in a piece of code."""
    root, *attributes = chain.split(".")
    target = _bindings(file, name).get(root)
    if target is None:
        return _named(file, root)
    return [] if _is_watched_by(file, target) else _followed(file, target, attributes)


def _named(file: Path, name: str) -> list[Place]:
    """A module's definition of a name, or what the module has imported under that name."""
    if name in _source(file):
        return [(file, name)]
    target = _source(file)[IMPORTED].imports.get(name)
    return [] if target is None else _followed(file, target, [])


def _followed(importer: Path, target: Target, attributes: list[str]) -> list[Place]:
    """The code that an imported name with its attributes stands for."""
    module = _absolute(target, importer)
    names = [*([target[2]] if target[2] else []), *attributes]
    while names and len(_files_of(f"{module}.{names[0]}")) > len(_files_of(module)):
        module = f"{module}.{names.pop(0)}"
    files = _files_of(module)
    if not files:
        return []
    # A module as such may be asked for any of its names.
    return _named(files[-1], names[0]) if names else _whole(files[-1])


def _bindings(file: Path, name: str) -> dict[str, Target]:
    """What the imported names stand for in a piece of a file."""
    source = _source(file)
    return source[IMPORTED].imports | source[name].imports


def _used_bindings(file: Path, name: str) -> dict[str, Target]:
    """Those that the piece uses, but for what the suite provides."""
    bindings = _bindings(file, name)
    roots = {chain.split(".")[0] for chain in _source(file)[name].uses}
    return {root: bindings[root] for root in roots & bindings.keys() if not _is_of_suite(bindings[root])}


def _is_of_suite(target: Target) -> bool:
    return target[1].split(".")[0] == "bench"


def _is_watched_by(importer: Path, target: Target) -> bool:
    watched = WATCHES_BY.get(_module_of(importer), ())
    return any(module in watched for module in _modules(target, importer))


def _absolute(target: Target, importer: Path) -> str:
    """The module of an import by its full name."""
    dots, module, _ = target
    above = _noted(importer).parts[:-dots] if dots else ()
    return ".".join([*above, *([module] if module else [])])


def _modules(target: Target, importer: Path) -> list[str]:
    """Names of the modules that an import may mean."""
    module, taken = _absolute(target, importer), target[2]
    return [module, f"{module}.{taken}"] if taken not in ("", "*") else [module]


def _module_of(file: Path) -> str:
    return ".".join(_noted(file).with_suffix("").parts).removesuffix(".__init__")


@cache
def _files_of(module: str) -> tuple[Path, ...]:
    """The files that importing a module would run, its own last; those that a fingerprint can hold."""
    parts = module.split(".")
    if parts[0] != IMSSL.name:
        return (_scores(),) if module == SCORES else ()
    # Importing a.b.c runs a/__init__.py and a/b/__init__.py as well.
    candidates = [IMSSL.parent.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    candidates.append(IMSSL.parent.joinpath(*parts).with_suffix(".py"))
    files = tuple(file for file in candidates if file in _contents())
    if parts[1:-1] == ["methods"] and candidates[-1] not in files and candidates[-2] not in files:
        of_project = own_methods() / f"{parts[-1]}.py"
        files += (of_project,) if of_project in _contents() else ()
    return files


def _scores() -> Path:
    return STAGES.parents[1].joinpath(*SCORES.split(".")).with_suffix(".py")


@cache
def _contents() -> dict[Path, bytes]:
    """Content of every file that a fingerprint can hold."""
    return {
        file: source.content
        for file, source in sources_at_start().items()
        if file.is_relative_to(IMSSL) or file.parent in (STAGES, own_methods()) or file == _scores()
    }


@cache
def _source(file: Path) -> Source:
    content, known = _contents()[file], _known_sources()
    sha = hashlib.sha256(content).hexdigest()
    if sha not in known:
        known[sha] = parsed(content, str(file))
    return known[sha]


@cache
def _known_sources() -> dict[str, Source]:
    try:
        known = json.loads(KNOWN_SOURCES.read_text(encoding="utf-8"))
        if known["form"] != FORM:
            return {}
        return {str(sha): from_json(source) for sha, source in known["sources"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _keep_sources() -> None:
    # In a new project, or where nothing can be written, the files are parsed again the next time.
    shas = {hashlib.sha256(content).hexdigest() for content in _contents().values()}
    sources = {sha: as_json(source) for sha, source in _known_sources().items() if sha in shas}
    with contextlib.suppress(OSError):
        if KNOWN_SOURCES.parent.is_dir():
            write_json(KNOWN_SOURCES, {"form": FORM, "sources": sources})
