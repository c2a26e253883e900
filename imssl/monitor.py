"""What is watched while a method pretrains: kNN score on validation images, and signs of a collapse."""

import numpy as np
import torch

from imssl.datasets.draw import draw_rows
from imssl.datasets.prepared import Prepared
from imssl.encoder import Encoder
from imssl.errors import Diverged
from imssl.features import feature_spread, pooled_features
from imssl.knn import knn_probabilities
from imssl.metrics import scores
from imssl.seeds import numpy_generator

NEIGHBOURS = 20
TEMPERATURE = 0.1
# Enough neighbours to see a trend; a monitor must not cost more than what it watches.
LARGEST_BANK = 2000
MOST_QUERIES = 1000


class Monitor:
    """Scores an encoder by kNN (Wu et al. 2018) from training to validation images.

    The labels stay here: the method never sees them, and no choice is made by the score. Of a large set some
    images are taken, spread over the patients.
    """

    def __init__(self, prepared: Prepared, device: torch.device, seed: int) -> None:
        self.prepared = prepared
        self.device = device
        draw = numpy_generator(seed, "monitor")
        self.bank = draw_rows(prepared, prepared.indices("train"), LARGEST_BANK, draw)
        self.queries = draw_rows(prepared, prepared.indices("val"), MOST_QUERIES, draw)

    def scores(self, encoder: Encoder) -> dict[str, float | None]:
        """Macro AUROC of kNN on block 4, and the spread of every block's features on validation images."""
        card, labels = self.prepared.card, self.prepared.labels()
        bank = pooled_features(encoder, self.prepared, self.bank, self.device)[-1]
        queries = pooled_features(encoder, self.prepared, self.queries, self.device)
        if not all(np.isfinite(block).all() for block in (bank, *queries)):
            raise Diverged("the encoder's features are not finite")
        probabilities = knn_probabilities(
            bank,
            labels[self.bank],
            queries[-1],
            task=card.task,
            classes=len(card.classes),
            k=NEIGHBOURS,
            temperature=TEMPERATURE,
        )
        knn = scores(card.task, labels[self.queries], probabilities, card.classes).macro_auroc
        spread = {f"spread_{i}": value for i, value in enumerate(feature_spread(queries), start=1)}
        return {"knn_macro_auroc": knn, **spread}
