"""Draw who imports whom: the folders of ``bench``, and ``imssl`` below them, as docs/images/imports.svg.

grimp reads the imports, Graphviz (``dot``) draws them: ``make drawing``. An arrow is left out where a longer
way leads to the same folder, so that what is drawn can be followed with the eye. The drawing names the
checksum of what it was made from, by which tests/test_docs.py notices that it is out of date.
"""

import ast
import hashlib
import html
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
DRAWING = ROOT / "docs" / "images" / "imports.svg"
PACKAGES = ("bench", "imssl")
STYLE = """
    bgcolor="white"; pad=0.2; nodesep=0.3; ranksep=0.3;
    node [shape=box, style="rounded,filled", fillcolor="#eef2ff", color="#4051b5", fontname="sans-serif",
          fontsize=12, margin="0.2,0.08"];
    edge [color="#7a86c8", arrowsize=0.6];
"""


def boxes_and_arrows() -> tuple[list[str], list[tuple[str, str]]]:
    """What is drawn.

    Returns:
        The boxes, each a folder or a lone module, by dotted name; and the arrows, (importer, imported).
    """
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    for module in sorted(graph.find_children("bench")):
        graph.squash_module(module)
    graph.squash_module("imssl")
    # `python -m bench` is bench.cli under another name.
    boxes = [*sorted(graph.find_children("bench") - {"bench.__main__"}), "imssl"]
    imported = {box: graph.find_modules_directly_imported_by(box) & set(boxes) for box in boxes}
    below = {box: graph.find_upstream_modules(box) for box in boxes}
    arrows = [
        (importer, other)
        for importer in boxes
        for other in sorted(imported[importer])
        if not any(other in below[between] for between in imported[importer])
    ]
    return boxes, arrows


def as_dot() -> str:
    """The drawing in Graphviz's language."""
    boxes, arrows = boxes_and_arrows()
    lines = [f'    "{box}" [label={_label(box)}];' for box in boxes]
    lines += [f'    "{importer}" -> "{other}";' for importer, other in arrows]
    return "\n".join(["digraph imports {", STYLE, *lines, "}\n"])


def checksum(dot: str) -> str:
    """What the drawing is recognised by, whatever the version of Graphviz that drew it."""
    return hashlib.sha256(dot.encode()).hexdigest()


def _label(box: str) -> str:
    """The name, and the first sentence of the docstring below it."""
    place = ROOT.joinpath(*box.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    documentation = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    sentence = documentation.partition("\n\n")[0].replace("``", "")
    lines = "<br/>".join(html.escape(line) for line in textwrap.wrap(sentence, 34))
    name = box.replace("bench.", "bench/")
    return f'<<b>{name}</b><br/><font point-size="10" color="#444444">{lines}</font>>'


def main() -> int:
    """Draw; the exit status is 2 where Graphviz is missing."""
    if shutil.which("dot") is None:
        print("error: Graphviz makes the drawing and is missing here (no dot); install it", file=sys.stderr)
        return 2
    dot = as_dot()
    drawn = subprocess.run(["dot", "-Tsvg"], input=dot, capture_output=True, text=True, check=True).stdout
    DRAWING.parent.mkdir(parents=True, exist_ok=True)
    DRAWING.write_text(f"{drawn.rstrip()}\n<!-- drawn from {checksum(dot)} -->\n", encoding="utf-8")
    print(DRAWING.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
