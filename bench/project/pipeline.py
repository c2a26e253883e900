"""dvc.yaml of a project: that of the suite's repository, but for what is a checkout's own."""

from importlib.metadata import version

from bench.project.repository_files import repository_file

HEAD = """\
# Written by `bench init` of imssl-bench {version}: the suite's own pipeline. Its code is not in this project,
# so the stage `inputs` notes the checksum of what is installed, in results/inputs/suite.json.
#
"""
# The repository's words, and a project's in their place.
STAGES_LINE = (
    "# What is said of a stage here is in bench/protocol/stage_specs.py too; a test holds the two together.\n"
)
REPLACED = (
    (STAGES_LINE, "# `methods` holds the project's own method files.\n"),
    ("    deps:\n      - bench\n      - imssl\n", "    deps:\n      - methods\n"),
    (
        "    deps:\n      - bench\n      - data\n      - results\n",
        "    deps:\n      - data\n      - results\n",
    ),
)


def pipeline() -> str:
    """The text of dvc.yaml."""
    text = repository_file("dvc.yaml")
    for repositorys, projects in REPLACED:
        assert repositorys in text, repositorys
        text = text.replace(repositorys, projects, 1)
    return HEAD.format(version=version("imssl-bench")) + text
