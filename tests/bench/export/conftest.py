"""A small run with two complete methods beside one that has holes and a reference, on two data sets."""

import pandas as pd
import pytest

from bench.analysis.analyse import analyse
from bench.protocol.params_file import PROFILES
from bench.protocol.protocol import read_protocol
from bench.report.leaderboard import write_reports
from bench.report.view import view_of
from bench.summary.read import read_results
from bench.summary.summary import summarise
from tests.bench.made_up_results import (  # noqa: F401 (pytest finds fixtures by their name here)
    protocol_of_fixture,
    results_of_fixture,
    summary_of_fixture,
)
from tests.bench.small_run import small_protocol, write_run

NAMES = ("random-init", "moco", "moco-mse", "moco-barlow")


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    """The run's folder with its report; do not change it."""
    methods = read_protocol(PROFILES / "demo.yaml").methods
    protocol = small_protocol(methods={name: methods[name] for name in NAMES}, seeds=[0, 1, 2])
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_run(protocol)
        write_reports(protocol)
        (folder / "params.yaml").write_text("profile: demo\n", encoding="utf-8")
        (folder / "dvc.lock").write_text("schema: '2.0'\n", encoding="utf-8")
    return folder, protocol


@pytest.fixture(scope="package")
def view(folder):
    place, protocol = folder
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        summary = summarise(protocol, read_results(protocol))
        return view_of(summary, analyse(summary))


@pytest.fixture(scope="package")
def means(folder):
    """The primary metrics' means over seeds from results.csv, where every seed has one."""
    place, protocol = folder
    table = pd.read_csv(place / "reports" / "results.csv")
    primary = table["dataset"].map({"phantom-chest": "macro_auroc", "phantom-fundus": "qwk"})
    table = table[(table["metric"] == primary) & table["class"].isna()]
    keys = ["dataset", "evaluation", "fraction", "block", "method"]
    grouped = table.groupby(keys, dropna=False)["value"]
    whole = grouped.count() == len(protocol.seeds)
    return grouped.mean()[whole].rename("mean").reset_index()
