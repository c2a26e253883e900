"""Files from others are data, never code: read off the source (pickles: test_architecture.py)."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted([*(ROOT / "imssl").rglob("*.py"), *(ROOT / "bench").rglob("*.py")])
TEMPLATES = sorted((ROOT / "bench").rglob("*.j2")) + sorted((ROOT / "bench" / "report").rglob("*.html"))
# What runs text as code, or unpacks names that an archive chose.
NEVER = re.compile(
    r"^(eval|exec|compile|__import__|os\.system|os\.popen"
    r"|.*\.(extractall|unpack_archive|read_pickle|to_pickle|from_pickle|hub\.load))$"
)
# A method file is code that its user means to run: parsed for its mistakes, and run in a process of its own.
METHOD_FILES = {
    ("bench/conformance/loading.py", "compile"),
    ("bench/conformance/loading.py", "exec"),
    ("bench/conformance/method_source.py", "compile"),
}


def calls(path: Path) -> list[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_runs_what_it_reads(path):
    for call in calls(path):
        name, given = ast.unparse(call.func), keywords(call)
        assert not NEVER.match(name) or (path.relative_to(ROOT).as_posix(), name) in METHOD_FILES, name
        assert given.get("shell") in (None, "False"), name
        assert given.get("allow_pickle") in (None, "False"), name
        assert given.get("weights_only") in (None, "True"), name
        if name.endswith("YAML"):  # ruamel's round trip makes no objects; typ="unsafe" would
            assert "unsafe" not in given.get("typ", "") + "".join(map(ast.unparse, call.args))
        if name.endswith("Environment"):
            assert given.get("autoescape") == "True"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_yaml_is_ruamels(path):
    """PyYAML's plain `load` makes objects."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert "yaml" not in {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert (node.module or "").split(".")[0] != "yaml"


def test_the_scan_would_see_them():
    for text in ("eval(x)", "torch.hub.load(x)", "archive.extractall()", "os.system(x)"):
        (call,) = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        assert NEVER.match(ast.unparse(call.func)), text
    assert not NEVER.match("encoder.eval")
    assert len(MODULES) > 80
    assert TEMPLATES


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_escape_what_they_show(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe\b|autoescape\s+false", text)
