"""Fingerprints of the code behind each stage and method: what a number depends on, found by its imports.

A hand-written list of source files is either too coarse (every edit reruns everything) or forgets one. The
imports say exactly which modules of ``imssl`` a stage can run; their contents are its fingerprint. Of
``bench`` only the stage's own file counts: the rest of the suite moves files and draws tables, and what it
passes on is in a cell's key by value.
"""

import ast
import contextlib
import hashlib
import json
import re
from functools import cache
from pathlib import Path

import bench
import imssl
from bench.cells.files import STORE, write_json
from bench.protocol.protocol import Protocol
from bench.protocol.registry import method_file

IMSSL = Path(imssl.__file__).parent
STAGES = Path(bench.__file__).parent / "stages"

# The imports of source files by their SHA-256: an edited file has another one, so nothing here is ever stale.
KNOWN_IMPORTS = STORE / "imports.json"

# An import from the suite at the top level of a file, on one line or in parentheses.
FROM_THE_SUITE = re.compile(rb"^from bench[. ][^\n(]*(?:\([^)]*\))?[^\n]*\n", re.MULTILINE)

Fingerprint = dict[str, str]
# Dots before the module, the module, and what is taken from it; an `import x` is (0, "x", []).
Import = tuple[int, str, list[str]]


def stage_fingerprint(stage: str) -> Fingerprint:
    """SHA-256 of the stage's file and of every module of imssl that it can import, by path.

    Of the stage's file, what it imports from the suite does not count: a module that moves changes no number.
    """
    return _fingerprint(STAGES / f"{stage}.py")


def method_fingerprint(method: str, protocol: Protocol) -> Fingerprint:
    """SHA-256 of a method's file and of every module of imssl that it can import, by path."""
    return _fingerprint(method_file(method, protocol), IMSSL / "methods" / "__init__.py")


def reached_modules(content: bytes, place: Path) -> list[str]:
    """Modules that a method file imports, and those of imssl that these import in turn, by dotted name.

    Args:
        content: of the file.
        place: where it lies or is to lie, for its relative imports.
    """
    direct = [*_modules(_imports(content, place), place), *_named_modules(content)]
    files = {file for module in direct for file in _files_of(module) if file in _sources()}
    reached = _fingerprint(*sorted(files)) if files else {}
    return sorted({*direct, *(name.removesuffix(".py").replace("/", ".") for name in reached)})


def digest(fingerprint: Fingerprint) -> str:
    """One SHA-256 over a fingerprint."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()


@cache
def _fingerprint(*entries: Path) -> Fingerprint:
    sources, known = _sources(), _known_imports()
    already_known = len(known)
    reached: dict[Path, str] = {}
    waiting = list(entries)
    while waiting:
        file = waiting.pop()
        if file not in reached:
            reached[file] = sources[file][1]
            waiting.extend(_imported_files(file))
    if len(known) > already_known:
        _keep_imports({sha: known[sha] for _, sha in sources.values() if sha in known})
    top = IMSSL.parent
    return {file.relative_to(top).as_posix(): sha for file, sha in sorted(reached.items())}


@cache
def _imported_files(file: Path) -> tuple[Path, ...]:
    """The files of `_sources` that a file imports, without those that these import in turn."""
    sources, known = _sources(), _known_imports()
    content, sha = sources[file]
    if sha not in known:
        known[sha] = _imports(content, file)
    modules = _modules(known[sha], file)
    return tuple({path: None for module in modules for path in _files_of(module) if path in sources})


@cache
def _sources() -> dict[Path, tuple[bytes, str]]:
    """Content and SHA-256 of every file that a fingerprint can hold."""
    contents = {file: file.read_bytes() for file in IMSSL.rglob("*.py")}
    contents |= {file: _without_the_suite(file.read_bytes()) for file in STAGES.rglob("*.py")}
    return {file: (content, hashlib.sha256(content).hexdigest()) for file, content in contents.items()}


def _without_the_suite(content: bytes) -> bytes:
    """A source file without the lines at its top level that import from bench."""
    return FROM_THE_SUITE.sub(b"", content)


@cache
def _known_imports() -> dict[str, list[Import]]:
    try:
        known = json.loads(KNOWN_IMPORTS.read_text(encoding="utf-8"))
        return {
            str(sha): [
                (int(dots), str(module), [str(name) for name in names]) for dots, module, names in imports
            ]
            for sha, imports in known.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _keep_imports(known: dict[str, list[Import]]) -> None:
    # In a new project, or where nothing can be written, the files are parsed again the next time.
    with contextlib.suppress(OSError):
        if KNOWN_IMPORTS.parent.is_dir():
            write_json(KNOWN_IMPORTS, known)


def _imports(content: bytes, file: Path) -> list[Import]:
    """The imports of a source file, also those inside functions."""
    imports: list[Import] = []
    for node in ast.walk(ast.parse(content, str(file))):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append((node.level, node.module or "", [alias.name for alias in node.names]))
    return imports


def _modules(imports: list[Import], importer: Path) -> list[str]:
    """Names of all modules that the imports of a file may mean, relative ones made absolute."""
    modules = []
    for dots, module, names in imports:
        above = importer.relative_to(IMSSL.parent).parts[:-dots] if dots else ()
        base = ".".join([*above, *([module] if module else [])])
        modules += [base, *(f"{base}.{name}" for name in names)]
    return modules


def _named_modules(content: bytes) -> list[str]:
    """Modules that are imported by a call with their name: ``import_module("imssl.queue")``."""
    return [
        str(node.args[0].value)
        for node in ast.walk(ast.parse(content))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__")
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]


def _files_of(module: str) -> list[Path]:
    """The files that importing a module would run if they exist."""
    parts = module.split(".")
    if parts[0] != IMSSL.name:
        return []
    # Importing a.b.c runs a/__init__.py and a/b/__init__.py as well.
    candidates = [IMSSL.parent.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    return [*candidates, IMSSL.parent.joinpath(*parts).with_suffix(".py")]
