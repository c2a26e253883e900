"""An evaluation that is added as CONTRIBUTING.md says is on every page, and in what is packed for others."""

import os
import subprocess
import sys

import pytest

from bench.protocol.stage_specs import STAGES
from bench.report.layout import EVALUATIONS
from tests.project_copy import ROOT, copy_packages

# A second vote of the neighbours, added before the probes.
STAGES_BEFORE = '    "probe": StageSpec('
STAGE = '    "echo": StageSpec(about="again", runs="dataset", builds_on=("pretrain",), per_label_set=True,\n'
STAGE += "        predictions={None: PREDICTIONS_FILE}),\n"
WORDS_BEFORE = '    "probe": EvaluationWords('
WORDS = '    "echo": EvaluationWords("Neighbours, again", "the echo", "echoed", ", heard twice"),\n'
WRITE_REPORT = """
from bench.report.leaderboard import write_reports
from bench.sharing.pack import EVALUATIONS
from tests.bench.small_run import small_protocol, write_run
protocol = small_protocol()
write_run(protocol)
write_reports(protocol)
print(*EVALUATIONS)
"""


def test_every_evaluation_has_its_words_on_the_page():
    leave_predictions = [stage for stage, spec in STAGES.items() if spec.predictions]
    assert list(EVALUATIONS) == leave_predictions, "a row of EVALUATIONS (bench/report/layout.py) for each"


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "tests").exists(), reason="needs the project's folder, not only the package")
def test_a_new_evaluation_needs_a_row_of_either_table_and_no_more(tmp_path):
    copy_packages(tmp_path, "checked")
    specs, layout = tmp_path / "bench/protocol/stage_specs.py", tmp_path / "bench/report/layout.py"
    for file, before, row in ((specs, STAGES_BEFORE, STAGE), (layout, WORDS_BEFORE, WORDS)):
        text = file.read_text(encoding="utf-8")
        assert text.count(before) == 1
        file.write_text(text.replace(before, row + before), encoding="utf-8")
    specs.write_text(specs.read_text().replace('Stage = Literal["', 'Stage = Literal["echo", "'))
    (tmp_path / "bench/stages/echo.py").write_text((ROOT / "bench/stages/knn.py").read_text())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    ended = subprocess.run(
        [sys.executable, "-c", WRITE_REPORT],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["finetune", "frozen", "knn", "echo"]
    page = (tmp_path / "reports/leaderboard.html").read_text(encoding="utf-8")
    for words in ("Neighbours, again", "echoed"):
        assert words in page
    assert ",echo," in (tmp_path / "reports/results.csv").read_text(encoding="utf-8")
