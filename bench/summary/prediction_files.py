"""The predictions of many cells: their test images are the same in every file, and are parsed once."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.cells.predictions import PROBABILITY, Predictions, read_predictions
from imssl.datasets.prepared import Card
from imssl.spreadsheet import safe_table


class PredictionFiles:
    """Reads the predictions of one data set's cells as `read_predictions` does, but faster.

    What a file says about the test images is compared with the files before it. Where it is the same, only
    the probabilities are new; where it is not, or the file is unusual in any way, the whole file is parsed.
    """

    def __init__(self, card: Card) -> None:
        self.card = card
        columns = ["id", "patient", *card.label_columns, *(PROBABILITY + name for name in card.classes)]
        self._header = safe_table(pd.DataFrame(columns=columns)).to_csv(index=False).rstrip()
        self._known: dict[tuple[str, ...], Predictions] = {}

    def read(self, file: Path, content: bytes) -> Predictions:
        """Read a predictions file.

        Args:
            file: its path.
            content: its bytes.

        Raises:
            UserError: it is missing, malformed, or not of this data set.
        """
        try:
            images, probabilities = self._split(content.decode())
        except ValueError:
            return read_predictions(file, self.card)
        if images not in self._known:
            self._known[images] = read_predictions(file, self.card)
        if not ((probabilities >= 0) & (probabilities <= 1)).all():
            return read_predictions(file, self.card)
        return self._known[images].model_copy(update={"probabilities": probabilities})

    def _split(self, text: str) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """What the lines say about the images, and the numbers at their ends, (N, C).

        Raises:
            ValueError: other columns than `predictions_table` writes, or something else than numbers.
        """
        header, *lines = text.removesuffix("\n").split("\n")
        if header != self._header or not lines:
            raise ValueError("other columns")
        count = len(self.card.classes)
        # Numbers are never quoted, so that whatever an id holds, they are what follows the last commas.
        images, *columns = zip(*(line.rsplit(",", count) for line in lines), strict=True)
        if len(columns) != count:
            raise ValueError("too few columns")
        return images, np.array([list(map(float, column)) for column in columns]).T
