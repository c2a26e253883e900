"""What a method uses that others do not, read off the classes of the package and of files of one's own."""

import importlib.util
import sys

import pytest

from imssl.departures import departures
from imssl.methods.byol import Byol
from imssl.methods.dino import Dino
from imssl.methods.masked_reconstruction import MaskedReconstruction
from imssl.methods.medaug import Medaug
from imssl.methods.moco import Moco
from imssl.methods.moco_barlow import MocoBarlow
from imssl.methods.nnclr import Nnclr
from imssl.methods.random_init import RandomInit
from imssl.methods.simsiam import Simsiam
from imssl.methods.vicregl import Vicregl


@pytest.mark.parametrize(
    ("method", "words"),
    [
        *((method, []) for method in (Moco, MocoBarlow, Byol, Nnclr, Vicregl, RandomInit)),
        (Medaug, ["patient ids", "views of other training images"]),
        (Dino, ["its own augmentation"]),
        (MaskedReconstruction, ["its own augmentation", "its own optimiser"]),
        (Simsiam, ["its own optimiser", "its own learning-rate schedule"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_departures_of_the_package(method, words):
    assert departures(method) == words


FILE = """
import re
from imssl.method import Method

def weight(batch):
    return {expression}

class Mine(Method):
    def losses(self, batch):
        return {{"size": self.encoder(batch.views[0]).embedding.mean() * weight(batch)}}
"""


@pytest.mark.parametrize(
    ("expression", "reads"),
    [
        ("batch.group.float().mean()", True),
        ("batch.training_set.groups.max()", True),
        ('float(re.match("(1)", "1").group(1))', False),
        ("len(batch.layer.groups)", False),
        ("batch.index.float().mean()", False),
    ],
)
def test_a_file_that_reads_the_patients_codes_is_known_by_it(tmp_path, monkeypatch, expression, reads):
    file = tmp_path / "mine_of_a_test.py"
    file.write_text(FILE.format(expression=expression))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, file.stem, module)
    spec.loader.exec_module(module)
    assert departures(module.Mine) == (["patient ids"] if reads else [])
