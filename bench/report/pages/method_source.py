"""What a method's file says of itself: read off its text, as the report imports no method's file."""

import ast
import hashlib
import inspect
import re
from dataclasses import dataclass
from pathlib import Path

# What the suite's own files cite; a method's file may name any other page in its docstring.
PAPERS = {
    "Bardes et al. 2022": "https://arxiv.org/abs/2105.04906",
    "Bardes, Ponce and LeCun 2022": "https://arxiv.org/abs/2210.01571",
    "Caron et al. 2021": "https://arxiv.org/abs/2104.14294",
    "Chen and He 2021": "https://arxiv.org/abs/2011.10566",
    "Chen et al. 2020": "https://arxiv.org/abs/2003.04297",
    "Chen, Kornblith et al. 2020": "https://arxiv.org/abs/2002.05709",
    "Dwibedi et al. 2021": "https://arxiv.org/abs/2104.14548",
    "Grill et al. 2020": "https://arxiv.org/abs/2006.07733",
    "He et al. 2020": "https://arxiv.org/abs/1911.05722",
    "Kaku et al. 2021": "https://arxiv.org/abs/2110.14805",
    "Vu et al. 2021": "https://arxiv.org/abs/2102.10663",
    "Xie et al. 2022": "https://arxiv.org/abs/2111.09886",
}
ADDRESS = re.compile(r"https?://[^\s<>()\"'`]+[^\s<>()\"'`.,;:]")
# reStructuredText marks code so, and the page shows plain text.
MARKED = re.compile(r"(`+)(.+?)\1")
ATTRIBUTE = re.compile(r"^    (\w+): (.*)$")


@dataclass(frozen=True)
class MethodFile:
    """What a method's file says of itself.

    Attributes:
        name: of the file, with its folder.
        sha256: of the file.
        text: of the file.
        about: first paragraphs of the docstrings of the file and of its method's class.
        papers: name and address of each page that the docstrings cite.
        meanings: of the hyper-parameters, by name, from the docstrings of the settings.
    """

    name: str
    sha256: str
    text: str
    about: tuple[str, ...]
    papers: tuple[tuple[str, str], ...]
    meanings: dict[str, str]


def method_source(file: Path) -> MethodFile:
    """Read a method's file; one that is no Python has its text alone."""
    content = file.read_bytes()
    text = content.decode("utf-8", errors="replace")
    tree = _parsed(text)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = [node for node in classes if _names_settings(node)] or classes[-1:]
    documented: list[ast.Module | ast.ClassDef] = [tree, *methods[-1:]]
    docstrings = [ast.get_docstring(node) or "" for node in documented]
    return MethodFile(
        name=("imssl/methods/" if file.parent.parent.name == "imssl" else "methods/") + file.name,
        sha256=hashlib.sha256(content).hexdigest(),
        text=text,
        about=tuple(_first_paragraph(docstring) for docstring in docstrings if docstring),
        papers=_papers("\n".join(docstrings)),
        meanings=_meanings(file, tree, set()),
    )


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _names_settings(node: ast.ClassDef) -> bool:
    """Whether a class says which settings it takes, as a method does that has any of its own."""
    targets = [target for item in node.body if isinstance(item, ast.Assign) for target in item.targets]
    return any(isinstance(target, ast.Name) and target.id == "settings_class" for target in targets)


def _first_paragraph(docstring: str) -> str:
    return _plain(inspect.cleandoc(docstring).split("\n\n")[0])


def _plain(text: str) -> str:
    return MARKED.sub(r"\2", " ".join(text.split()))


def _papers(text: str) -> tuple[tuple[str, str], ...]:
    plain = " ".join(text.split())
    cited = [(name, address) for name, address in PAPERS.items() if name in plain]
    # “Bardes et al. 2022” is not cited by who writes “Chen, Bardes et al. 2022”.
    longest = [
        (name, address)
        for name, address in cited
        if not any(name != other and name in other for other, _ in cited)
    ]
    named = [(address, address) for address in dict.fromkeys(ADDRESS.findall(text))]
    return (*longest, *(pair for pair in named if pair[1] not in {address for _, address in longest}))


def _meanings(file: Path, tree: ast.Module, read: set[str]) -> dict[str, str]:
    """Attributes in the docstrings of a file's classes, and of the method files that it derives from."""
    read.add(file.name)
    meanings: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("imssl.methods."):
            imported = file.parent / f"{(node.module or '').rpartition('.')[2]}.py"
            if imported.name not in read and imported.is_file():
                text = imported.read_text(encoding="utf-8", errors="replace")
                meanings |= _meanings(imported, _parsed(text), read)
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            meanings |= _attributes(ast.get_docstring(node) or "")
    return meanings


def _attributes(docstring: str) -> dict[str, str]:
    """Names and meanings in a section “Attributes:” of a docstring in Google's style."""
    meanings: dict[str, list[str]] = {}
    name = ""
    for line in docstring.partition("Attributes:\n")[2].splitlines():
        if line and not line.startswith(" "):
            break
        begun = ATTRIBUTE.match(line)
        if begun:
            name = begun[1]
            meanings[name] = [begun[2]]
        elif name and line.strip():
            meanings[name].append(line.strip())
    return {name: _plain(" ".join(lines)) for name, lines in meanings.items()}
