"""README, docs/ and their neighbours: short, unbroken and up to date, and their code blocks run.

A block of ``sh`` or ``python`` runs in a scratch project of its page, one after another, unless a comment
above it says otherwise:

    <!-- not run: why -->         only its commands are checked: verbs, options, DVC's stages, make's targets
    <!-- from: FILE -->           it is a passage of this file, line for line
    <!-- in: a finished run -->   it runs in the folder of a small run with its report
    <!-- in: prepared data -->    it runs in a project with one prepared data set
    <!-- file: NAME -->           it is saved under this name before it runs
"""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
from ruamel.yaml import YAML

from bench.cli import app
from bench.launch.engines.cluster import ClusterSettings
from bench.protocol.protocol import Protocol
from bench.report.leaderboard import write_reports
from tests.bench.small_run import small_protocol, write_run
from tests.code_blocks import ROOT, Block, blocks, command_lines
from tests.project_copy import copy_packages
from tests.test_architecture import FLOORS

DOCS = ROOT / "docs"
SITE = ROOT / "zensical.toml"

pytestmark = pytest.mark.skipif(not SITE.exists(), reason="needs the project's folder, not only the package")

README = ROOT / "README.md"
# The site shows these as pages of its own, from another folder.
INCLUDED = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES = [README, *INCLUDED, *sorted(DOCS.rglob("*.md"))]
MOST_WORDS = 1200

PLACES = ("a finished run", "prepared data")
LINK = re.compile(r"(?<!`)\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
SOURCE_FILE = re.compile(r"`((?:bench|imssl|tests|docs|scripts)/[\w/.-]*)`")
# Made by a command, so not in a fresh clone.
MADE = {"bench/checked/"}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


ALL_BLOCKS = [block for page in PAGES for block in blocks(page)] if SITE.exists() else []


# --- short, and nothing broken


def test_the_readme_is_one_page():
    assert len(README.read_text(encoding="utf-8").split()) < MOST_WORDS


def slug(heading: str) -> str:
    """The anchor of a heading, for the site and for GitHub alike."""
    plain = re.sub(r"[^\w\s-]", "", heading.strip().lower())
    return re.sub(r"[\s]+", "-", plain.strip())


def text_of(page: Path) -> str:
    """A page without its code blocks, with what it includes."""
    text = re.sub(
        r'^--8<-- "(.+)"$', lambda match: (ROOT / match[1]).read_text(encoding="utf-8"),
        page.read_text(encoding="utf-8"), flags=re.MULTILINE,
    )  # fmt: skip
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)}


def documented(page: Path, anchor: str) -> bool:
    """Whether a page of the API reference has an entry of this name: a module, or a public name in one."""
    for module in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        defined = {getattr(node, "name", "") for node in ast.parse(file.read_text(encoding="utf-8")).body}
        if anchor == module or anchor.removeprefix(module + ".") in defined:
            return True
    return False


@each_page
def test_every_link_leads_somewhere(page):
    for link in (inline or attribute for inline, attribute in LINK.findall(text_of(page))):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = page if not file else page.parent / file
        assert target.exists(), f"{link}: there is no {file}"
        assert target.resolve().is_relative_to(ROOT), link
        if anchor and "api" in target.parts:
            assert documented(target, anchor), link
        elif anchor:
            assert anchor in anchors(target), f"{link}: {name_of(target)} has no such heading"


@pytest.mark.parametrize("page", INCLUDED, ids=name_of)
def test_what_is_shown_in_two_places_links_to_no_file(page):
    """A relative link would be right in one of them only."""
    assert all(link.startswith("https://") for link, _ in LINK.findall(text_of(page)))


@each_page
def test_every_source_file_that_is_named_exists(page):
    for name in SOURCE_FILE.findall(text_of(page)):
        assert (ROOT / name).exists() or name in MADE, f"{name_of(page)} names {name}"


def test_every_page_is_in_the_navigation():
    named = set(re.findall(r'"([\w/-]+\.md)"', SITE.read_text(encoding="utf-8")))
    assert named == {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}


@pytest.mark.slow
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("zensical", reason="needs: pip install 'imssl-bench[docs]'")
    for name in ("bench", "imssl", "docs", "reports", "zensical.toml", "CONTRIBUTING.md", "CHANGELOG.md"):
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= len(list(DOCS.rglob("*.md")))
    for page in pages:
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|source|iframe)\b[^>]*\bsrc=\"?([^\s\">]+)", html)
        links = [link for link in re.findall(r"<link\b[^>]*>", html) if "rel=canonical" not in link]
        loaded += [address for link in links for address in re.findall(r"\bhref=\"?([^\s\">]+)", link)]
        assert loaded
        assert not [address for address in loaded if re.match(r"(https?:)?//", address)], page.name


# --- up to date


def test_the_drawing_is_that_of_the_imports(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import draw_imports

    drawing = draw_imports.DRAWING.read_text(encoding="utf-8")
    assert draw_imports.checksum(draw_imports.as_dot()) in drawing, "out of date; run: make drawing"
    boxes, arrows = draw_imports.boxes_and_arrows()
    titles = re.findall(r"<title>([\w.&#;]+)</title>", drawing)
    drawn = {title.replace("&#45;&gt;", "->").replace("&#45;", "-") for title in titles} - {"imports"}
    assert drawn == {*boxes, *(f"{importer}->{imported}" for importer, imported in arrows)}


def test_the_order_of_the_folders_is_told_as_it_is_held():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = text.partition("from the bottom up:")[2].partition(".")[0]
    assert tuple(re.findall(r"`(\w+)`", told)) == FLOORS


def test_the_changelog_has_an_entry_for_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    headings = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d\d-\d\d)?$", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert version
    assert version[1] in headings
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Results"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds


# --- code blocks


def test_blocks_say_what_they_are_and_where_they_run():
    assert any(block.runs for block in ALL_BLOCKS)
    for block in ALL_BLOCKS:
        assert block.language in ("sh", "python", "yaml", "text"), block
        assert block.how != "in" or block.what in PLACES, block


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.language == "sh"], ids=str)
def test_every_command_exists(block):
    """Verbs and options of bench, stages of DVC, targets of make; also where a block is not run."""
    cli = typer.main.get_command(app)
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for program, *arguments in command_lines(block):
        if program == "bench":
            verb = cli
            while arguments and arguments[0] in getattr(verb, "commands", {}):
                verb = verb.commands[arguments.pop(0)]
            parameters = verb.get_params(typer.Context(verb))
            options = {option for parameter in parameters for option in parameter.opts}
            given = {word for word in arguments if re.match(r"-\D", word)}
            assert verb is not cli or given, f"{block}: there is no bench {' '.join(arguments)}"
            if not verb.context_settings.get("ignore_unknown_options"):  # they are DVC's
                assert given <= options, f"{block}: bench {verb.name}"
        elif program == "make":
            assert set(arguments) <= set(targets), block
        elif program == "dvc" and arguments[0] == "repro":
            named = {word.partition("@")[0] for word in arguments[1:] if not word.startswith("-")}
            assert named <= set(stages), block


@each_page
def test_every_module_that_a_sentence_runs_exists(page):
    """``python -m ...`` within a line, with the files that it names."""
    for command in re.findall(r"`(?:[\w./]*/)?python3? -m ([^`]+)`", text_of(page)):
        module, *arguments = shlex.split(command)
        assert find_spec(module) is not None, f"{name_of(page)}: python -m {command}"
        for argument in arguments:
            assert not re.match(r"(tests|docs|bench|imssl)/", argument) or (ROOT / argument).exists(), command


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.how == "from"], ids=str)
def test_what_is_quoted_is_still_there(block):
    quoted, source = (
        [line.strip() for line in text.splitlines() if line.strip()]
        for text in (block.code, (ROOT / block.what).read_text(encoding="utf-8"))
    )
    assert "\n".join(quoted) in "\n".join(source), block


@pytest.mark.parametrize("block", [block for block in ALL_BLOCKS if block.language == "yaml"], ids=str)
def test_settings_that_are_shown_are_allowed(block):
    shown = YAML(typ="safe").load(block.code)
    if block.code.startswith("# cluster.yaml"):
        ClusterSettings.model_validate(shown)
        return
    protocol = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    Protocol.model_validate(protocol | shown)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small run and its report, as a user would find it after dvc repro."""
    folder, protocol = tmp_path_factory.mktemp("finished"), small_protocol()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        YAML().dump(protocol.model_dump(mode="json"), folder / "params.yaml")
        write_run(protocol)
        write_reports(protocol)
    return folder


def scratch_project(folder: Path) -> Path:
    """A copy of the project, in which methods can be added, with an empty folder for results."""
    copy_packages(folder, "checked")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def run(block: Block, folder: Path) -> None:
    if block.how == "file":
        (folder / block.what).write_text(block.code, encoding="utf-8")
    if block.language == "python":
        command = [sys.executable, "-c", block.code]
    else:
        bench = f'set -euo pipefail; bench() {{ {shlex.quote(sys.executable)} -m bench "$@"; }}'
        command = ["bash", "-c", f"{bench}\n{block.code}"]
    own_code = folder if (folder / "bench").exists() else ROOT
    environment = os.environ | {"PYTHONPATH": str(own_code)}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{block}:\n{block.code}\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("page", [page for page in PAGES if any(b.runs for b in blocks(page))], ids=name_of)
def test_the_blocks_of_a_page_run(page, tmp_path, request):
    for block in blocks(page):
        if not block.runs:
            continue
        if block.how == "in" and block.what == "a finished run":
            run(block, request.getfixturevalue("finished_run"))
            continue
        if not (tmp_path / "bench").exists():
            scratch_project(tmp_path)
        if block.what == "prepared data" and not (tmp_path / "data").exists():
            prepare = f"{shlex.quote(sys.executable)} -m bench.stage data phantom-chest"
            run(Block(page, block.line, "sh", prepare), tmp_path)
        run(block, tmp_path)


def test_a_run_of_one_seed_says_so_first_and_shows_no_winner():
    """One seed of commit 45d7d13 was said to show that pretraining helps."""
    page = (ROOT / "docs" / "real-images.md").read_text(encoding="utf-8")
    first = page.split("\n\n")[1]
    assert re.search(r"of commit `[0-9a-f]{7,}`, with one seed", first)
    assert "nothing about" in first
    assert "helps the probes" not in page
