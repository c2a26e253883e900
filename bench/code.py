"""Fingerprints of the code behind each stage and method: what a number depends on, found by its imports.

A hand-written list of source files is either too coarse (every edit reruns everything) or forgets one. The
imports say exactly which modules of ``imssl`` a stage can run; their contents are its fingerprint. Of
``bench`` only the stage's own file counts: the rest of the suite moves files and draws tables, and what it
passes on is in a cell's key by value.
"""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

import bench
import imssl
from bench.protocol import Protocol
from bench.registry import method_file

IMSSL = Path(imssl.__file__).parent
STAGES = Path(bench.__file__).parent / "stages"

Fingerprint = dict[str, str]


def stage_fingerprint(stage: str) -> Fingerprint:
    """SHA-256 of the stage's file and of every module of imssl that it can import, by path."""
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
    direct = [*_imported_modules(content, place), *_named_modules(content)]
    files = {file for module in direct for file in _files_of(module)}
    reached = _fingerprint(*sorted(files)) if files else {}
    return sorted({*direct, *(name.removesuffix(".py").replace("/", ".") for name in reached)})


def digest(fingerprint: Fingerprint) -> str:
    """One SHA-256 over a fingerprint."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()


@cache
def _fingerprint(*entries: Path) -> Fingerprint:
    found: dict[Path, str] = {}
    waiting = list(entries)
    while waiting:
        file = waiting.pop()
        if file not in found:
            content = file.read_bytes()
            found[file] = hashlib.sha256(content).hexdigest()
            modules = _imported_modules(content, file)
            waiting.extend(imported for module in modules for imported in _files_of(module))
    top = IMSSL.parent
    return {file.relative_to(top).as_posix(): sha for file, sha in sorted(found.items())}


@cache
def _imported_modules(content: bytes, importer: Path) -> list[str]:
    modules = []
    for node in ast.walk(ast.parse(content, str(importer))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, importer)
            modules += [base, *(f"{base}.{alias.name}" for alias in node.names)]
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


def _absolute(node: ast.ImportFrom, importer: Path) -> str:
    """The module that a ``from ... import`` names, relative or not."""
    named = [node.module] if node.module else []
    above = importer.relative_to(IMSSL.parent).parts[: -node.level] if node.level else ()
    return ".".join([*above, *named])


def _files_of(module: str) -> list[Path]:
    parts = module.split(".")
    if parts[0] != IMSSL.name:
        return []
    # Importing a.b.c runs a/__init__.py and a/b/__init__.py as well.
    candidates = [IMSSL.parent.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    candidates.append(IMSSL.parent.joinpath(*parts).with_suffix(".py"))
    return [file for file in candidates if file.is_file()]
