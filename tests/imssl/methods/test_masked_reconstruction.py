"""Masked reconstruction: what is hidden, what is asked for, and by what it is trained."""

import numpy as np
import pytest
import torch

from imssl.augment import augment
from imssl.errors import UserError
from imssl.methods.masked_reconstruction import MaskedReconstruction
from imssl.pretrain import Training
from imssl.settings.augmentation import Augmentation
from imssl.settings.pretraining import Optimisation

OPTIMISATION = Optimisation(learning_rate=0.1, momentum=0.9, weight_decay=1e-4, schedule="cosine", warmup=0.0)


def watch(method):
    """Notes what the encoder is given and what the decoder gives back."""
    seen = {}
    method.encoder.register_forward_pre_hook(lambda _m, inputs: seen.update(given=inputs[0].detach()))
    method.decoder.register_forward_hook(lambda _m, _i, output: seen.update(decoded=output.detach()))
    return seen


@pytest.mark.parametrize(
    ("pixels", "patch", "ratio", "squares"),
    [
        (16, 4, 0.6, 10),
        (16, 8, 0.5, 2),
        (16, 8, 0.01, 1),
        (16, 8, 0.99, 3),
        (28, 4, 0.6, 29),
        (20, 8, 0.6, 5),
    ],
)
def test_the_same_number_of_squares_is_masked_in_every_image(
    make_method, make_batch, pixels, patch, ratio, squares
):
    method = make_method(MaskedReconstruction, pixels=pixels, patch=patch, ratio=ratio)
    batch = make_batch(size=50, pixels=pixels, view_count=1)
    mask = method.masks(batch.views[0], batch.generator)
    assert (mask.shape, mask.dtype) == ((50, 1, pixels, pixels), torch.bool)
    corners = mask[..., ::patch, ::patch]
    assert set(corners.sum(dim=(1, 2, 3)).tolist()) == {squares}
    for image in mask[:, 0].numpy():  # whole squares, cut off at the border only
        whole = np.kron(image[::patch, ::patch], np.ones((patch, patch), dtype=bool))
        np.testing.assert_array_equal(image, whole[:pixels, :pixels])
    assert corners.any(dim=0).all()  # every place is masked now and then
    assert not corners.all(dim=0).any()


def test_masks_are_drawn_from_the_step(make_method, make_batch):
    method, images = make_method(MaskedReconstruction), make_batch().images
    one, same, other = (method.masks(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("pixels", [16, 28])
def test_the_encoder_does_not_see_the_masked_pixels_and_is_judged_by_them(make_method, make_batch, pixels):
    method = make_method(MaskedReconstruction, pixels=pixels, hidden=8).train()
    seen = watch(method)
    loss = method.losses(make_batch(pixels=pixels, view_count=1))["reconstruction"]
    batch = make_batch(pixels=pixels, view_count=1)
    mask = method.masks(batch.views[0], batch.generator).numpy().repeat(3, axis=1)
    image, given, decoded = (t.double().numpy() for t in (batch.views[0], seen["given"], seen["decoded"]))
    assert (given[mask] == 0).all()
    np.testing.assert_array_equal(given[~mask], image[~mask])
    error = np.abs(decoded[..., :pixels, :pixels] - image)
    assert loss.item() == pytest.approx(error[mask].mean(), rel=1e-5)
    assert error[~mask].mean() != pytest.approx(error[mask].mean(), rel=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_reach_every_weight(make_method, make_batch, channels):
    method = make_method(MaskedReconstruction, channels=channels, pixels=32, hidden=8).train()
    method.losses(make_batch(channels=channels, pixels=32, view_count=1))["reconstruction"].backward()
    for name, weight in method.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name


def test_the_view_is_moved_but_keeps_its_colours(make_method):
    method = make_method(MaskedReconstruction)
    images = torch.randint(
        0, 256, (8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    (view,) = method.augmented(images, Augmentation(), torch.Generator().manual_seed(1))
    geometry = Augmentation(
        brightness=0, contrast=0, saturation=0, hue=0, grey_probability=0, blur_probability=0
    )
    assert torch.equal(view, augment(images, geometry, torch.Generator().manual_seed(1)))
    assert not torch.equal(view, images / 255)


def test_it_is_trained_by_adamw_on_the_protocols_schedule(make_method, make_batch):
    method = make_method(MaskedReconstruction, hidden=8, learning_rate=0.002, weight_decay=0.1).train()
    training = Training(method, OPTIMISATION, steps=8)
    training.take_step(make_batch(step=4, view_count=1), "float32")
    optimizer = training.optimizer
    assert type(optimizer) is torch.optim.AdamW
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.001] * 2)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert training.trained_parameters == sum(weight.numel() for weight in method.parameters())


def test_a_patch_that_masks_all_or_nothing_is_refused(make_method):
    with pytest.raises(UserError, match=r"patch = 16 pixels .*images of 16 pixels.* Set it to 8 or less"):
        make_method(MaskedReconstruction, patch=16)
