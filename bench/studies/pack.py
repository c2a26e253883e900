"""Pack what is finished of a run into a study; what the study holds already stays as it is."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from bench.cells.files import data_folder
from bench.cells.keys import Keys
from bench.cells.store import kept
from bench.methods.tuned import trials_file
from bench.protocol.cell import Cell
from bench.protocol.params_file import PARAMS, read_params
from bench.protocol.protocol import Protocol
from bench.stages.inputs import input_contents
from bench.studies.agreement import refuse_disagreement, suite_version
from bench.studies.stored.chains import samples_file, write_chain
from bench.studies.stored.files import (
    CHAIN_FILE,
    INPUTS_FILE,
    PREDICTED_SPLITS,
    STUDY_FILE,
    Chain,
    StudyRecord,
    chain_folder,
    chains_of,
    read_chain,
    study_folder,
    study_trials,
    write_packed_json,
)
from imssl.datasets.prepared import Card, read_card, read_samples
from imssl.durable import write_bytes, write_text

# Keys of a data set's row that name files of this machine.
PATHS = ("path", "split_file", "table")


@dataclass
class Packed:
    """What has come of packing.

    Attributes:
        study: its folder.
        new: chains that were added.
        had: how many the study held before.
        other_code: those among them that other code, of the same version of the suite, has computed.
        unfinished: chains of the protocol that are not complete yet.
    """

    study: Path
    new: list[Chain] = field(default_factory=list)
    had: int = 0
    other_code: list[Chain] = field(default_factory=list)
    unfinished: list[Chain] = field(default_factory=list)


def pack(name: str, protocol: Protocol, tell: Callable[[str], None]) -> Packed:
    """Add the finished chains of a protocol to a study; the study is made if there is none.

    Args:
        name: of the study.
        protocol: of the run, whose data sets are prepared.
        tell: is given a line on each chain that is added.

    Raises:
        UserError: a data set is not prepared, or the study was made under another protocol, on other data or
            by another version of the suite.
    """
    study = study_folder(name, must_exist=False)
    cards = {dataset: read_card(data_folder(dataset)) for dataset in protocol.datasets}
    if (study / STUDY_FILE).is_file():
        refuse_disagreement(study, protocol, cards, seeds_may_differ=True)
    _write_what_all_share(study, name, protocol, cards)
    packed, keys = Packed(study), Keys(protocol)
    for chain, cells in chains_of(protocol).items():
        if (chain_folder(study, chain) / CHAIN_FILE).is_file():
            packed.had += 1
            if _was_other_code(study, chain, cells, keys):
                packed.other_code.append(chain)
            continue
        places = {cell: kept(cell, keys.key(cell)) for cell in cells}
        if any(place is None for place in places.values()):
            packed.unfinished.append(chain)
            continue
        records = {cell: place[1] for cell, place in places.items() if place}
        folders = {cell: place[0] for cell, place in places.items() if place}
        write_chain(study, chain, records, folders, cards[chain.dataset], suite_version())
        packed.new.append(chain)
        tell(f"{chain.title}: {len(cells)} cells")
    return packed


def _was_other_code(study: Path, chain: Chain, cells: list[Cell], keys: Keys) -> bool:
    stored = read_chain(study, chain)
    return stored is not None and {cell.record["key"] for cell in stored.cells} != set(map(keys.key, cells))


def _write_what_all_share(study: Path, name: str, protocol: Protocol, cards: dict[str, Card]) -> None:
    """Everything but chains; what is there and would be the same stays untouched."""
    record = StudyRecord(name=name, suite=suite_version(), profile=protocol.profile)
    files: dict[Path, bytes] = {
        study / "params.yaml": without_paths().encode(),
        # Pages of methods and data sets would not have room in git; `bench study pages` makes them.
        study / ".gitignore": b"/datasets/\n/methods/\n",
    }
    for dataset, card in cards.items():
        files[study / "cards" / f"{dataset}.json"] = (card.model_dump_json(indent=1) + "\n").encode()
        if not samples_file(study, dataset).is_file():
            files[samples_file(study, dataset)] = _samples(dataset, card)
    for method, file in study_trials(study, protocol).items():
        if trials_file(method).is_file():
            files[file] = trials_file(method).read_bytes()
    for file, content in files.items():
        if not file.is_file() or file.read_bytes() != content:
            write_bytes(file, content)
    if not (study / INPUTS_FILE).is_file():
        write_packed_json(study / INPUTS_FILE, _without_folders(input_contents(protocol)))
    # Last: with this file it is a study.
    write_text(study / STUDY_FILE, record.model_dump_json(indent=1) + "\n")


def _samples(dataset: str, card: Card) -> bytes:
    samples = read_samples(data_folder(dataset), card)
    columns = ["id", "patient", "split", *card.attributes, *card.label_columns]
    in_order = [samples[samples["split"] == split][columns] for split in PREDICTED_SPLITS]
    content = io.BytesIO()
    tables = [pa.Table.from_pandas(part, preserve_index=False) for part in in_order]
    pq.write_table(pa.concat_tables(tables), content, compression="zstd", compression_level=19)
    return content.getvalue()


def without_paths(params: Path = PARAMS) -> str:
    """params.yaml with the names of data and weights in the place of their paths, which differ by machine."""
    content: dict[str, Any] = read_params(params)
    for row in content["datasets"].values():
        for key in PATHS:
            if isinstance(row.get(key), str):
                row[key] = Path(row[key]).name
        row.pop("follow_links", None)
    weights = content["encoder"].get("weights")
    if isinstance(weights, str):
        content["encoder"]["weights"] = Path(weights).name
    for name, files in content["initialisations"].items():
        content["initialisations"][name] = (
            Path(files).name
            if isinstance(files, str)
            else {dataset: Path(file).name for dataset, file in files.items()}
        )
    text = io.StringIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.dump(content, text)
    return text.getvalue()


def _without_folders(content: Any) -> Any:
    """Settings in which absolute paths, which are of this machine, are the names of the files."""
    if isinstance(content, dict):
        return {key: _without_folders(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_folders(value) for value in content]
    is_path = isinstance(content, str) and Path(content).is_absolute()
    return Path(content).name if is_path else content


def size_of(study: Path) -> int:
    """Bytes that a study takes in git."""
    ignored = {study / "methods", study / "datasets"}
    files = (file for file in study.rglob("*") if file.is_file() and not ignored.intersection(file.parents))
    return sum(file.stat().st_size for file in files)
