"""Python source as what it does: its definitions, each with a checksum and the names that it uses.

Comments, docstrings and layout are no part of it. The same source gives the same checksums under every
version of Python that the suite runs on; `ast.dump` and `ast.unparse` do not.
"""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

# What an import takes: dots before the module, the module, and the name taken from it; "" for the module.
Target = tuple[int, str, str]

# The piece of a file that runs when it is imported, whatever is used of it.
IMPORTED = ""


@dataclass(frozen=True)
class Piece:
    """A definition at the top level of a file, or what importing the file runs in any case.

    Attributes:
        sha: SHA-256 of its code.
        uses: names that it refers to, each with the attributes that follow it: ``metrics.scores``.
        imports: names that it binds by importing, and what they stand for.
        loads: what it imports, under whatever name.
    """

    sha: str
    uses: tuple[str, ...]
    imports: dict[str, Target]
    loads: tuple[Target, ...]

    @property
    def does_nothing(self) -> bool:
        """Whether there is no code in it but imports."""
        return self.sha == _sha([])


# The pieces of a file by name.
Source = dict[str, Piece]


def parsed(content: bytes, place: str) -> Source:
    """Take a source file to pieces.

    Args:
        content: of the file.
        place: that a message names.

    Raises:
        SyntaxError: it is not Python.
    """
    statements: dict[str, list[ast.stmt]] = {IMPORTED: []}
    for statement in ast.parse(content, place).body:
        for name in _defined_by(statement) or [IMPORTED]:
            statements.setdefault(name, []).append(statement)
    return {name: _piece(of_name) for name, of_name in statements.items()}


def as_json(source: Source) -> dict[str, Any]:
    """Pieces as JSON can hold them."""
    return {name: asdict(piece) for name, piece in source.items()}


def from_json(content: dict[str, Any]) -> Source:
    """Pieces as `as_json` has written them.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it has not.
    """
    return {
        str(name): Piece(
            sha=str(piece["sha"]),
            uses=tuple(str(chain) for chain in piece["uses"]),
            imports={str(local): _target(target) for local, target in piece["imports"].items()},
            loads=tuple(_target(target) for target in piece["loads"]),
        )
        for name, piece in content.items()
    }


def _target(written: Any) -> Target:
    dots, module, taken = written
    return int(dots), str(module), str(taken)


def _defined_by(statement: ast.stmt) -> list[str]:
    """The names that a statement only defines; none where it may do something when it is run."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
        targets: list[ast.expr] = (
            statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        )
        calls = any(isinstance(node, ast.Call) for node in ast.walk(statement.value))
        if not calls and all(isinstance(target, ast.Name) for target in targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
    return []


def _piece(statements: list[ast.stmt]) -> Piece:
    running = [node for statement in statements for node in _without_type_checking(statement)]
    imports: dict[str, Target] = {}
    loads: list[Target] = []
    for statement in running:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                loads += [(0, alias.name, "") for alias in node.names]
                for alias in node.names:
                    imports[alias.asname or alias.name.split(".")[0]] = (
                        (0, alias.name, "") if alias.asname else (0, alias.name.split(".")[0], "")
                    )
            elif isinstance(node, ast.ImportFrom):
                taken = {a.asname or a.name: (node.level, node.module or "", a.name) for a in node.names}
                imports |= taken
                loads += taken.values()
            elif isinstance(node, ast.Call) and _imports_by_name(node):
                loads.append((0, str(node.args[0].value), "*"))  # type: ignore[attr-defined]
    uses = sorted({chain for statement in running for chain in _chains(statement)})
    return Piece(_sha(_plain(running)), tuple(uses), imports, tuple(loads))


def _imports_by_name(call: ast.Call) -> bool:
    """Whether it is ``import_module("imssl.queue")`` or the like."""
    is_importer = ast.unparse(call.func).split(".")[-1] in ("import_module", "__import__")
    return is_importer and bool(call.args) and isinstance(call.args[0], ast.Constant)


def _without_type_checking(statement: ast.stmt) -> list[ast.stmt]:
    """The statement, or of an ``if TYPE_CHECKING`` what runs all the same."""
    if isinstance(statement, ast.If) and ast.unparse(statement.test).split(".")[-1] == "TYPE_CHECKING":
        return statement.orelse
    return [statement]


def _chains(node: ast.AST) -> Iterator[str]:
    """Names with the attributes that follow them, as far as they are plain."""
    attributes: list[str] = []
    inner = node
    while isinstance(inner, ast.Attribute):
        attributes.append(inner.attr)
        inner = inner.value
    if isinstance(inner, ast.Name):
        yield ".".join([inner.id, *reversed(attributes)])
    else:
        for child in ast.iter_child_nodes(inner):
            yield from _chains(child)


def _sha(content: Any) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A syntax tree as lists of plain values, without what changes nothing."""
    if isinstance(value, list):
        return [_plain(item) for item in value if not _says_nothing(item)]
    if isinstance(value, ast.JoinedStr):
        return ["JoinedStr", _joined(value.values)]
    if not isinstance(value, ast.AST):
        return repr(value)
    fields = ((name, getattr(value, name, None)) for name in value._fields)
    # What is not there is left out, as later versions of Python add fields that are empty.
    return [
        type(value).__name__,
        *(
            [name, _plain(content)]
            for name, content in fields
            if content not in (None, []) and name not in ("ctx", "kind", "type_comment")
        ),
    ]


def _joined(parts: list[ast.expr]) -> list[Any]:
    """The parts of an f-string; Python 3.12 divides its text elsewhere than 3.11 does."""
    plain: list[Any] = []
    for part in parts:
        if not isinstance(part, ast.Constant):
            plain.append(_plain(part))
        elif plain and isinstance(plain[-1], str):
            plain[-1] += str(part.value)
        elif part.value:
            plain.append(str(part.value))
    return plain


def _says_nothing(node: Any) -> bool:
    """Imports, whose names count where they are used; docstrings and the like; ``pass``."""
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text or isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)
