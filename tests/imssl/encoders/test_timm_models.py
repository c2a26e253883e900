"""timm's models as encoders, against timm itself, and pretrained by methods with and without maps."""

import pytest
import timm
import torch
from torch import nn

from imssl.batch_norm import fill_batch_norm, has_batch_norm, set_batch_norm_splits
from imssl.encoder import build_encoder, new_encoder, refuse_image_size
from imssl.encoders.timm_models import _known_arguments
from imssl.errors import UserError
from imssl.features import fingerprint
from imssl.methods.masked_reconstruction import MaskedReconstruction
from imssl.methods.moco import Moco
from imssl.methods.moco_barlow import MocoBarlow
from imssl.methods.moco_mse import MocoMse
from imssl.methods.simclr import Simclr
from imssl.settings.encoder import TimmSettings

# One of each family, with channels and sides of the blocks' maps for images of 64 pixels.
FAMILIES = {
    "timm/convnext_atto": ([40, 80, 160, 320], [16, 8, 4, 2]),
    "timm/vit_tiny_patch16_224": ([192] * 4, [4] * 4),
    "timm/swin_tiny_patch4_window7_224": ([96, 192, 384, 768], [16, 8, 4, 2]),
    "timm/regnetx_002": ([24, 56, 152, 368], [16, 8, 4, 2]),
}
# Small ones that train in seconds.
SMALL = ("timm/convnext_atto", "timm/test_vit")
METHODS = {
    Moco: {"queue": 16},
    MocoMse: {"queue": 16, "block_grids": (4, 2, 2, 1)},
    MocoBarlow: {"queue": 16, "projection": 16},
    Simclr: {"hidden": 16, "dimension": 8},
}


def drawn(channels, size, count=2):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_four_blocks_of_every_family(name, channels):
    encoder = new_encoder(TimmSettings(name=name), channels, seed=0).eval()
    widths, sides = FAMILIES[name]
    with torch.no_grad():
        features = encoder(drawn(channels, 64))
    assert [block.shape[1] for block in features.blocks] == widths == list(encoder.block_widths)
    assert [block.shape[-1] for block in features.blocks] == sides
    assert [features.pooled(i).shape for i in range(1, 5)] == [(2, width) for width in widths]
    assert encoder.stride == 64 // sides[-1]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_embedding_is_timms_own(name):
    """Also for images of another size than the model was made for, and with the same seed."""
    encoder = new_encoder(TimmSettings(name=name), 3, seed=0).eval()
    known = {"vit": {"dynamic_img_size": True}, "swi": {"strict_img_size": False}}
    arguments = known.get(name.removeprefix("timm/")[:3], {})
    theirs = timm.create_model(name.removeprefix("timm/"), pretrained=False, num_classes=0, **arguments)
    theirs.load_state_dict(encoder.model.state_dict())  # strict: the names are timm's
    with torch.no_grad():
        for size in (64, 224):
            images = drawn(3, size, count=1)
            torch.testing.assert_close(encoder(images).embedding, theirs.eval()(images), rtol=1e-5, atol=1e-5)


def test_a_transformers_blocks_are_its_tokens_where_they_lie():
    """Against the tokens that hooks see: the map's columns, and the class token as the block's vector."""
    encoder = new_encoder(TimmSettings(name="timm/vit_tiny_patch16_224"), 3, seed=0).eval()
    seen = []
    for layer in (2, 5, 8, 11):  # quarters of twelve layers
        encoder.model.blocks[layer].register_forward_hook(lambda _m, _i, tokens: seen.append(tokens))
    with torch.no_grad():
        features = encoder(drawn(3, 64))
    for number, tokens in enumerate(seen, start=1):
        block = features.block(number)
        for row in range(4):
            for column in range(4):
                assert torch.equal(block[:, :, row, column], tokens[:, 1 + 4 * row + column])
        if number < 4:
            assert torch.equal(features.pooled(number), tokens[:, 0])
    assert torch.equal(features.embedding, encoder.model.norm(seen[3])[:, 0])


def test_the_mean_may_stand_for_the_image():
    encoder = new_encoder(TimmSettings(name="timm/test_vit", pooling="mean"), 1, seed=0).eval()
    with torch.no_grad():
        features = encoder(drawn(1, 32))
    torch.testing.assert_close(features.pooled(2), features.block(2).mean(dim=(2, 3)))
    expected = encoder.model.fc_norm(features.block(4).mean(dim=(2, 3)))
    torch.testing.assert_close(features.embedding, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
@pytest.mark.parametrize("name", SMALL)
def test_methods_pretrain_them(name, method, phantom, tmp_path):
    prepared = phantom("histology", 32)  # a ConvNeXt halves the side five times
    pretrained = run(name, method, METHODS[method], prepared, tmp_path)
    start = new_encoder(TimmSettings(name=name), 3, seed=0).state_dict()
    moved = [
        key for key, weight in pretrained.encoder.state_dict().items() if not torch.equal(weight, start[key])
    ]
    assert any("patch_embed" in key or "stem" in key for key in moved)
    assert all(row["loss"] is not None for row in pretrained.history)
    assert not pretrained.batch_norm_filled  # there is none
    assert pretrained.statistics_before == {}


def test_masked_reconstruction_needs_a_size_that_the_stride_divides(phantom, tmp_path):
    run("timm/test_vit", MaskedReconstruction, {"hidden": 4}, phantom("histology", 16), tmp_path)
    with pytest.raises(UserError, match="that 32 divides"):
        run("timm/convnext_atto", MaskedReconstruction, {"hidden": 4}, phantom("histology", 36), tmp_path)


def run(name, method, settings, prepared, folder):
    """A short pretraining run."""
    from imssl.pretrain import pretrain
    from imssl.recipe import Recipe
    from imssl.settings.augmentation import Augmentation
    from imssl.settings.hardware import Hardware
    from imssl.settings.pretraining import Optimisation, PretrainSettings

    optimisation = Optimisation(
        learning_rate=0.01, momentum=0.9, weight_decay=0, schedule="constant", warmup=0
    )
    recipe = Recipe(
        prepared,
        PretrainSettings(steps=3, batch_size=8, optimisation=optimisation, monitor_every=1),
        Augmentation(),
        Hardware(device="cpu", threads=1, precision="float32"),
        torch.device("cpu"),
        seed=0,
    )

    def build(encoder, training_set):
        return method(encoder, method.settings_class(**settings), training_set)

    encoder = new_encoder(TimmSettings(name=name), 3, seed=0)
    return pretrain(encoder, build, recipe, folder / "checkpoint", f"{name} {method}", lambda *_: None)


def test_batch_norm_of_timm_is_split_and_filled_as_that_of_resnets():
    """Splits of equal parts against the parts on their own; filled statistics against one large batch."""
    encoder = build_encoder(TimmSettings(name="timm/regnetx_002"), 3)
    assert has_batch_norm(encoder)
    images = drawn(3, 32, count=12)
    first = next(layer for layer in encoder.modules() if isinstance(layer, nn.BatchNorm2d))
    maps = torch.randn(12, first.num_features, 4, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        apart = torch.cat([first(part) for part in maps.chunk(3)])
        set_batch_norm_splits(encoder, 3)
        steps = first.num_batches_tracked.item()
        torch.testing.assert_close(first(maps), apart)
        assert first.num_batches_tracked.item() == steps + 1  # a step is one, however it is split
        set_batch_norm_splits(encoder, 1)
        whole = encoder.train()(images).embedding
        fill_batch_norm(encoder.parts, lambda: images.split(5), room=2**30)
        torch.testing.assert_close(encoder.eval()(images).embedding, whole, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "timm/vit_tiny_patch16_225"}, ["encoder.name", "vit_tiny_patch16_225"]),
        ({"name": "timm/levit_128"}, ["3 stages"]),
        ({"name": "timm/convnext_atto", "pooling": "class token"}, ["encoder"]),
    ],
)
def test_what_cannot_be_an_encoder_is_refused(settings, words):
    with pytest.raises(UserError) as error:
        build_encoder(TimmSettings(**settings), 3)
    assert [word for word in words if word not in str(error.value)] == []


def test_an_image_size_that_the_model_does_not_take_is_refused():
    encoder = build_encoder(TimmSettings(name="timm/swin_tiny_patch4_window7_224"), 1)
    refuse_image_size(encoder, "timm/swin", 32)
    with pytest.raises(UserError, match="33 x 33 pixels"):
        refuse_image_size(encoder, "timm/swin", 33)


@pytest.mark.parametrize("name", [*SMALL, "timm/regnetx_002"])
def test_the_same_seed_gives_the_same_weights_whether_or_not_the_name_is_known_yet(name):
    _known_arguments.cache_clear()
    unknown, known = (new_encoder(TimmSettings(name=name), 3, seed=0) for _ in range(2))
    assert fingerprint(unknown) == fingerprint(known)
