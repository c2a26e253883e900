"""The loss terms that methods share, as functions of tensors."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor

from imssl.encoder import Features


def contrastive_logits(query: Tensor, positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Similarities of each query to its key (column 0) and to the queue, over the temperature.

    Args:
        query: (B, D), L2-normalised, with gradient.
        positive: (B, D), L2-normalised keys of the same images.
        negatives: (K, D), L2-normalised keys of earlier images.
        temperature: softmax temperature, > 0.

    Returns:
        (B, 1 + K).
    """
    with _in_float32(query):
        query, positive, negatives = query.float(), positive.float(), negatives.float()
        similar = (query * positive).sum(dim=1, keepdim=True)
        return torch.cat([similar, query @ negatives.T], dim=1) / temperature


def without_own_keys(logits: Tensor, index: Tensor, queue_indices: Tensor) -> Tensor:
    """Logits in which no queued key of the query's own image counts as a negative.

    Args:
        logits: (B, 1 + K) from :func:`contrastive_logits`.
        index: (B,) int64, the image of each query.
        queue_indices: (K,) int64, the image of each queued key.

    Returns:
        (B, 1 + K), minus infinity at those keys, so that they have no weight in the softmax.
    """
    own = index[:, None] == queue_indices
    return torch.cat([logits[:, :1], logits[:, 1:].masked_fill(own, -torch.inf)], dim=1)


def info_nce(logits: Tensor) -> Tensor:
    """Contrastive loss of one positive against a queue (He et al. 2020, eq. 1).

    Args:
        logits: (B, 1 + K) from :func:`contrastive_logits`; column 0 is the positive.

    Returns:
        Scalar mean over the batch, in nats.
    """
    return F.cross_entropy(logits.float(), torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def top1(logits: Tensor) -> Tensor:
    """Share of queries whose own key is the most similar one, scalar in [0, 1]."""
    return (logits[:, 0] > logits[:, 1:].max(dim=1).values).float().mean()


def nt_xent_logits(projections: Tensor, temperature: float) -> Tensor:
    """Similarities of two views of every image to each other and to all other images, over the temperature.

    Args:
        projections: (2B, D), L2-normalised, with gradient: the B first views, then the B second ones.
        temperature: softmax temperature, > 0.

    Returns:
        (2B, 2B - 1): in column 0 the other view of the same image, then the 2B - 2 views of other images, as
        :func:`info_nce` and :func:`top1` expect them. Their ``info_nce`` is NT-Xent, symmetrical in the views
        (Chen, Kornblith et al. 2020, eq. 1).
    """
    with _in_float32(projections):
        projections = projections.float()
        similar = projections @ projections.T / temperature
    views = len(projections)
    itself = torch.eye(views, dtype=torch.bool, device=projections.device)
    positive = itself.roll(views // 2, dims=1)
    negatives = similar[~(itself | positive)].view(views, views - 2)
    return torch.cat([similar[positive][:, None], negatives], dim=1)


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosine similarity of each row of one matrix with each row of another, in float32.

    Args:
        first: (B, D).
        second: (K, D).

    Returns:
        (B, K), in [-1, 1].
    """
    with _in_float32(first):
        return F.normalize(first.float(), dim=1) @ F.normalize(second.float(), dim=1).T


def nearest(rows: Tensor, candidates: Tensor) -> Tensor:
    """Which of the candidates (K, D) is most similar by cosine to each of the rows (B, D): (B,) int64."""
    return cosines(rows, candidates).argmax(dim=1)


def in_batch_info_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Contrastive loss of each query with its own key against the other keys of the batch.

    Args:
        queries: (B, D).
        keys: (B, D), in the same order.
        temperature: softmax temperature, > 0.

    Returns:
        Scalar mean over the batch, in nats.
    """
    logits = cosines(queries, keys) / temperature
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean negative cosine similarity of rows (Chen and He 2021, eq. 1).

    Twice this plus 2 is the squared distance of the normalised rows (Grill et al. 2020, eq. 2).

    Args:
        prediction: (B, D), with gradient.
        target: (B, D); detach it where the paper stops the gradient.

    Returns:
        Scalar in [-1, 1].
    """
    return -F.cosine_similarity(prediction.float(), target.float(), dim=1).mean()


def variance_hinge(projections: Tensor) -> Tensor:
    """How far the deviation of each feature over the batch falls short of 1 (Bardes et al. 2022, eq. 1).

    Args:
        projections: (B, D), or (B, P, D) at P places of each image; B >= 2.

    Returns:
        Scalar mean over the features, and over the places.
    """
    # The small addend is the paper's: without it, the root of a variance of 0 has an infinite gradient.
    deviation = (projections.float().var(dim=0) + 1e-4).sqrt()
    return F.relu(1 - deviation).mean()


def off_diagonal_covariance(projections: Tensor) -> Tensor:
    """Squared covariances of different features over the batch (Bardes et al. 2022, eq. 3 and 4).

    Args:
        projections: (B, D), or (B, P, D) at P places of each image, each place for itself; B >= 2.

    Returns:
        Scalar, their sum divided by D; mean over the places.
    """
    with _in_float32(projections):
        centred = (projections.float() - projections.float().mean(dim=0)).movedim(0, -2)
        covariance = centred.mT @ centred / (len(projections) - 1)
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    squares = covariance.square().sum(dim=(-2, -1)) - diagonal.square().sum(dim=-1)
    return squares.mean() / projections.shape[-1]


def block_mse(query: Features, key: Features, grids: Sequence[int]) -> list[Tensor]:
    """Mean squared error of query and key features, block by block (Kaku et al. 2021, section 3.2).

    Args:
        query: features with gradient.
        key: features of the other view, without gradient.
        grids: side of the square to which each block's maps are average-pooled first; 1 pools globally,
            and maps that are already smaller stay as they are.

    Returns:
        One scalar per block, the mean over batch, channels and positions.
    """
    return [
        F.mse_loss(query.averaged(number, grid), key.averaged(number, grid))
        for number, grid in enumerate(grids, start=1)
    ]


def cross_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Correlation matrix of two sets of projections over the batch (Zbontar et al. 2021, eq. 2).

    Args:
        first: (B, D).
        second: (B, D).

    Returns:
        (D, D); entry (i, j) correlates feature i of the first with feature j of the second.
    """
    with _in_float32(first):
        first, second = (_standardised(z.float()) for z in (first, second))
        return first.T @ second / len(first)


def barlow_twins(first: Tensor, second: Tensor, on_diagonal: float, off_diagonal: float) -> Tensor:
    """Distance of the cross-correlation from the identity (Zbontar et al. 2021, eq. 1).

    Args:
        first: (B, D) projections of one view.
        second: (B, D) projections of the other view.
        on_diagonal: weight of the invariance term, sum of (C_ii - 1)^2; 1 in Zbontar et al.
        off_diagonal: weight of the redundancy term, sum of C_ij^2 with i != j.

    Returns:
        Scalar.
    """
    correlation = cross_correlation(first, second)
    diagonal = correlation.diagonal()
    redundancy = correlation.square().sum() - diagonal.square().sum()
    return on_diagonal * (diagonal - 1).square().sum() + off_diagonal * redundancy


def _in_float32(tensor: Tensor) -> AbstractContextManager[object]:
    # Autocast would round the factors of a matrix product to bfloat16, even those of float32 tensors.
    return torch.autocast(tensor.device.type, enabled=False)


def _standardised(z: Tensor, epsilon: float = 1e-5) -> Tensor:
    # Biased variance and epsilon as in the batch norm without affine that Zbontar et al. use.
    return (z - z.mean(dim=0)) / (z.var(dim=0, unbiased=False) + epsilon).sqrt()
