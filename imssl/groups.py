"""Images that belong together: codes of their patients, and another image of the same patient."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from imssl.seeds import numpy_generator


def anonymous_codes(names: np.ndarray, seed: int) -> Tensor:
    """Numbers from 0 in the place of names, such as patient ids.

    Their order is drawn, as that of the names may follow the classes.

    Args:
        names: (N,) str.
        seed: of the run.

    Returns:
        (N,) int64, equal where the names are equal.
    """
    different, codes = np.unique(names, return_inverse=True)
    order = numpy_generator(seed, "groups").permutation(len(different))
    return torch.from_numpy(order[codes].astype(np.int64))


@dataclass(frozen=True)
class GroupMembers:
    """The images of every group, in a form from which many are drawn at once.

    Attributes:
        members: (N,) int64, the images group by group.
        place: (N,) int64, where each image stands in ``members``.
        start: (N,) int64, where the group of each image begins in ``members``.
        count: (N,) int64, images in the group of each image.
    """

    members: Tensor
    place: Tensor
    start: Tensor
    count: Tensor

    @classmethod
    def of(cls, groups: Tensor) -> "GroupMembers":
        """From the group of each image, (N,) int64, as in ``TrainingSet.groups``."""
        members = groups.argsort(stable=True)
        _, codes, counts = groups.unique(return_inverse=True, return_counts=True)
        return cls(members, members.argsort(), (counts.cumsum(0) - counts)[codes], counts[codes])

    def another(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """For each image another one of its group, each with the same probability.

        Args:
            index: (B,) int64, images.
            generator: on the CPU.

        Returns:
            (B,) int64; the image itself where its group has no other.
        """
        start, count = self.start[index], self.count[index]
        others = (count - 1).clamp(min=1)
        ahead = 1 + (torch.rand(len(index), dtype=torch.float64, generator=generator) * others).long()
        return self.members[start + (self.place[index] - start + ahead) % count]
