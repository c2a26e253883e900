"""The suite's MoCo v2 against one that is put together from lightly's parts, on the same images.

Both are pretrained by the suite's loop: images, order, views, initial encoder, schedule and kNN score are the
same by construction. Head, loss, queue and momentum, where a mistake could hide, are lightly's.

    python -m tests.known_good --dataset idc --seeds 0,1,2

reads params.yaml and the prepared data of the current folder, and prints one JSON document: the kNN scores on
validation images, their means over the seeds, and the difference with its interval. Both agree where that
holds 0. Exit status 1 if they do not.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import MoCoProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from scipy import stats

from bench.cells.files import data_folder
from bench.protocol.protocol import Protocol, read_protocol
from imssl.datasets.prepared import read_prepared
from imssl.device import select_device
from imssl.encoder import Encoder, new_encoder
from imssl.method import Batch, Losses, Method, TrainingSet
from imssl.methods.moco import Moco, MocoSettings
from imssl.momentum import momentum_copy
from imssl.pretrain import Recipe, pretrain

LEVEL = 0.95
METHODS = ("suite", "lightly")


class LightlyMoco(Method):
    """MoCo v2 as the example in lightly's documentation builds it, around an encoder of the suite."""

    settings_class = MocoSettings
    settings: MocoSettings

    def __init__(self, encoder: Encoder, settings: MocoSettings, training_set: TrainingSet) -> None:
        super().__init__(encoder, settings, training_set)
        self.head = MoCoProjectionHead(encoder.width, settings.hidden, settings.dimension)
        self.key_encoder, self.key_head = momentum_copy(encoder), momentum_copy(self.head)
        for module in (self.key_encoder, self.key_head):
            deactivate_requires_grad(module)
        self.criterion = NTXentLoss(
            settings.temperature, memory_bank_size=(settings.queue, settings.dimension)
        )

    def losses(self, batch: Batch) -> Losses:
        """lightly's NT-Xent of view 0 against view 1 and its memory bank."""
        query = self.head(self.encoder(batch.views[0]).embedding)
        with torch.no_grad():
            key = self.key_head(self.key_encoder(batch.views[1]).embedding)
        return {"contrastive": self.criterion(query, key)}

    def after_step(self, batch: Batch) -> None:
        """Let the key encoder follow."""
        update_momentum(self.encoder, self.key_encoder, m=self.settings.momentum)
        update_momentum(self.head, self.key_head, m=self.settings.momentum)


@dataclass(frozen=True)
class Agreement:
    """Scores of both by seed, and what they say.

    Attributes:
        scores: macro AUROC of kNN at the end, one for each seed, by method.
        difference: suite minus lightly, mean over the seeds.
        low: lower end of its interval (Student's, over seeds); NaN with one seed.
        high: upper end.
    """

    scores: dict[str, list[float]]
    difference: float
    low: float
    high: float

    @property
    def agrees(self) -> bool:
        """Whether 0 is within the interval; with one seed nothing can be said."""
        return bool(self.low <= 0 <= self.high)


def agreement(scores: dict[str, list[float]]) -> Agreement:
    """What the scores of both methods on the same seeds say."""
    differences = np.subtract(scores["suite"], scores["lightly"])
    mean, low, high = float(differences.mean()), float("nan"), float("nan")
    if len(differences) > 1:
        half = stats.t.ppf((1 + LEVEL) / 2, len(differences) - 1) * differences.std(ddof=1)
        half /= np.sqrt(len(differences))
        low, high = mean - half, mean + half
    return Agreement(scores, mean, low, high)


def final_score(kind: str, dataset: str, protocol: Protocol, seed: int) -> float:
    """Pretrain one of both, and give its last kNN score on the validation images."""
    prepared = read_prepared(data_folder(dataset))
    # lightly's example normalises the batch as a whole.
    row = {k: v for k, v in protocol.written_settings("moco", dataset).items() if k != "optimisation"}
    settings = MocoSettings.model_validate(row | {"batch_norm_splits": 1})
    recipe = Recipe(
        prepared, protocol.pretrain_of(dataset), protocol.augmentation_of(dataset), protocol.hardware,
        select_device(protocol.hardware), seed,
    )  # fmt: skip
    method = Moco if kind == "suite" else LightlyMoco
    encoder = new_encoder(protocol.encoder, prepared.images.shape[-1], seed)
    with tempfile.TemporaryDirectory() as folder:
        trained = pretrain(
            encoder,
            lambda encoder, training_set: method(encoder, settings, training_set),
            recipe,
            Path(folder) / "checkpoint.pt",
            f"{kind} {seed}",
            lambda done, steps: None,
        )
    score = trained.history[-1]["knn_macro_auroc"]
    assert score is not None
    return score


def main(arguments: list[str]) -> int:
    """Run the check; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parsed = parser.parse_args(arguments)
    protocol, seeds = read_protocol(), [int(seed) for seed in parsed.seeds.split(",")]
    torch.set_num_threads(protocol.hardware.threads)
    scores: dict[str, list[float]] = {kind: [] for kind in METHODS}
    for seed in seeds:
        for kind in METHODS:
            scores[kind].append(final_score(kind, parsed.dataset, protocol, seed))
            print(f"{kind}, seed {seed}: {scores[kind][-1]:.4f}", file=sys.stderr, flush=True)
    found = agreement(scores)
    known = {k: None if v != v else v for k, v in vars(found).items()}
    means = {kind: float(np.mean(values)) for kind, values in scores.items()}
    print(json.dumps(known | {"means": means, "seeds": seeds, "agrees": found.agrees}, indent=1))
    return 0 if found.agrees else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
