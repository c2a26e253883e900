from pathlib import Path

import pytest
from ruamel.yaml import YAML

import bench
from bench.protocol.cell import all_cells, built_on, dvc_stages
from bench.protocol.protocol import Protocol, read_protocol
from bench.protocol.stage_specs import CELL_STAGES, STAGES

ROOT = Path(bench.__file__).parents[1]
WRITTEN = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
AXES = {"once": [], "dataset": ["dataset"], "method": ["dataset", "method"]}


def test_dvc_has_the_stages_of_the_table_in_their_order():
    assert list(WRITTEN) == list(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_says_of_a_stage_what_the_table_says(stage):
    spec, written = STAGES[stage], WRITTEN[stage]
    axes = AXES[spec.runs]
    assert written["desc"] == spec.about
    assert written.get("matrix", {}) == {axis: f"${{{axis}s}}" for axis in axes}
    words = ["python3 -m bench.stage", stage, *(f"${{item.{axis}}}" for axis in axes)]
    assert written["cmd"] == " ".join(words)


@pytest.mark.parametrize("stage", CELL_STAGES)
def test_a_stage_depends_on_what_it_builds_on_and_on_its_own_inputs(stage):
    spec, written = STAGES[stage], WRITTEN[stage]
    depends = set(written["deps"])
    method = "/${item.method}" if spec.runs == "method" else ""
    expected = {f"results/${{item.dataset}}/{earlier}{method}" for earlier in spec.builds_on}
    expected.add(f"results/inputs/{stage}-${{item.dataset}}.json")
    assert expected <= depends
    assert ("data/${item.dataset}" in depends) or not spec.reads_images
    assert ("results/inputs/method-${item.method}.json" in depends) == (stage == "pretrain")
    places = (f"results/${{item.dataset}}/{stage}", f"results/${{item.dataset}}/provenance/{stage}")
    assert written["outs"] == [f"{place}{method}" for place in places]


def test_dvc_keeps_every_output_so_that_pull_brings_all_of_them():
    outputs = [
        output
        for stage in WRITTEN.values()
        for kind in ("outs", "metrics", "plots")
        for output in stage.get(kind, [])
    ]
    assert len(outputs) > 20
    written_with_options = [
        value for output in outputs if isinstance(output, dict) for value in output.values()
    ]
    assert not any("cache" in options for options in written_with_options)


@pytest.mark.parametrize("stage", CELL_STAGES)
def test_no_stage_with_cells_depends_on_what_differs_from_run_to_run(stage):
    assert not any("provenance" in dependency for dependency in WRITTEN[stage]["deps"])


def test_inputs_depends_on_every_section_of_the_protocol():
    assert sorted(WRITTEN["inputs"]["params"]) == sorted(Protocol.model_fields)


def test_every_stage_builds_on_earlier_ones():
    for place, stage in enumerate(CELL_STAGES):
        assert set(STAGES[stage].builds_on) <= set(CELL_STAGES[:place])


def test_a_cell_builds_on_cells_of_its_own_method_and_seed(edited):
    protocol = edited("seeds: [0]", "seeds: [0, 1]")
    for cell in all_cells(protocol):
        for earlier in built_on(cell, protocol):
            assert (earlier.dataset, earlier.method, earlier.seed) == (cell.dataset, cell.method, cell.seed)
            assert earlier.stage in STAGES[cell.stage].builds_on


def test_the_names_of_dvc(project):
    names = dvc_stages(read_protocol())
    # Two data sets and three methods.
    expected = sum({"once": 1, "dataset": 2, "method": 2 * 3}[spec.runs] for spec in STAGES.values())
    assert len(names) == len(set(names)) == expected
    assert {"inputs", "data@chest", "pretrain@chest-moco", "ks@fundus", "report"} <= set(names)
    assert {cell.dvc_stage for cell in all_cells(read_protocol())} <= set(names)
