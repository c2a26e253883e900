"""The recipe for Apptainer, which Debian does not have: its form, and that it fits the image."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECIPE = (ROOT / "docs" / "container" / "apptainer.def").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
# What a definition file may hold: https://apptainer.org/docs/user/main/definition_files.html
SECTIONS = {"setup", "files", "post", "test", "environment", "startscript", "runscript", "labels", "help"}


def sections() -> dict[str, str]:
    """Body of each section by its name; the header under the empty name."""
    header, *rest = re.split(r"^%", RECIPE, flags=re.MULTILINE)
    named = {body.split("\n", 1)[0].strip(): body.split("\n", 1)[1] for body in rest}
    assert len(named) == len(rest), "a section occurs twice"
    return {"": header} | named


def test_the_recipe_has_the_form_of_a_definition_file():
    header = [line for line in sections()[""].splitlines() if line and not line.startswith("#")]
    assert dict(line.split(": ", 1) for line in header) == {
        "Bootstrap": "oci-archive",
        "From": "imssl-bench.tar",
    }
    assert set(sections()) - {""} <= SECTIONS
    assert all(
        line.startswith("    ")
        for name, body in sections().items()
        if name
        for line in body.split("\n")
        if line
    )


def test_the_recipe_fits_the_image():
    folder = re.search(r"^WORKDIR (\S+)", DOCKERFILE, re.MULTILINE)[1]
    environment = re.search(r"VIRTUAL_ENV=(\S+)", DOCKERFILE)[1]
    assert f"PATH={environment}/bin:$PATH" in sections()["environment"]
    for name in ("runscript", "test"):
        assert sections()[name].split("\n")[0].strip() == f"cd {folder}"
    assert '"bench"' in DOCKERFILE.split("ENTRYPOINT")[1].split("\n")[0]
    assert 'exec bench "$@"' in sections()["runscript"]
