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
    return _fingerprint(method_file(method, protocol))


def digest(fingerprint: Fingerprint) -> str:
    """One SHA-256 over a fingerprint."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()


@cache
def _fingerprint(entry: Path) -> Fingerprint:
    found: dict[Path, str] = {}
    waiting = [entry]
    while waiting:
        file = waiting.pop()
        if file not in found:
            content = file.read_bytes()
            found[file] = hashlib.sha256(content).hexdigest()
            waiting.extend(_imported_files(content, str(file)))
    top = IMSSL.parent
    return {file.relative_to(top).as_posix(): sha for file, sha in sorted(found.items())}


def _imported_files(content: bytes, name: str) -> list[Path]:
    files = []
    for node in ast.walk(ast.parse(content, name)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        files += [file for module in modules for file in _files_of(module)]
    return files


def _files_of(module: str) -> list[Path]:
    parts = module.split(".")
    if parts[0] != IMSSL.name:
        return []
    # Importing a.b.c runs a/__init__.py and a/b/__init__.py as well.
    candidates = [IMSSL.parent.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    candidates.append(IMSSL.parent.joinpath(*parts).with_suffix(".py"))
    return [file for file in candidates if file.is_file()]
