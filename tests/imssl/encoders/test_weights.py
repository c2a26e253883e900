"""Files from others: the features are those of the network that a file was taken from."""

import hashlib
import os

import pytest
import torch
import torchvision
from lightly.models import ResNetGenerator
from lightly.models.modules import MoCoProjectionHead
from safetensors.torch import save_file
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import nn

from imssl.encoder import build_encoder, new_encoder
from imssl.encoders.weights import load_weights
from imssl.errors import UserError
from imssl.features import fingerprint
from imssl.settings.encoder import EncoderSettings, TimmSettings

RESNET18 = EncoderSettings(name="resnet18", stem="imagenet")
IMAGES = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(1))


def trained_resnet():
    """torchvision's ResNet-18 whose statistics are not those of a new one."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = torchvision.models.resnet18(weights=None)
        network.train()(IMAGES)
    return network.eval()


def embedding_of(network):
    with torch.no_grad():
        trunk = nn.Sequential(*list(network.children())[:-1], nn.Flatten())
        return trunk(IMAGES)


def torchvision_names(network):
    return network.state_dict(), ("fc.weight", "fc.bias"), ""


def moco_checkpoint(network):
    """Of facebookresearch/moco: query and key encoder, queue, under state_dict."""
    names = {f"module.encoder_q.{name}": tensor for name, tensor in network.state_dict().items()}
    names |= {f"module.encoder_k.{name}": torch.zeros_like(t) for name, t in network.state_dict().items()}
    unused = [name for name in names if "encoder_k" in name or ".fc." in name]
    checkpoint = {"epoch": 3, "state_dict": names | {"module.queue": torch.zeros(2, 3)}, "optimizer": {}}
    return checkpoint, (*unused, "module.queue"), "module.encoder_q."


class LightlyMoco(nn.Module):
    """As in lightly's example of MoCo."""

    def __init__(self, network):
        super().__init__()
        self.backbone = nn.Sequential(*list(network.children())[:-1])
        self.projection_head = MoCoProjectionHead(512, 512, 128)
        self.backbone_momentum = nn.Sequential(*list(trained_resnet().children())[:-1])


def lightly_checkpoint(network):
    state = LightlyMoco(network).state_dict()
    return state, tuple(name for name in state if not name.startswith("backbone.")), "backbone."


@pytest.mark.parametrize("layout", [torchvision_names, moco_checkpoint, lightly_checkpoint])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_features_are_those_of_the_network_that_the_file_was_taken_from(layout, ending, tmp_path):
    network = trained_resnet()
    content, unused, prefix = layout(network)
    file = tmp_path / f"weights{ending}"
    if ending == ".pth":
        torch.save(content, file)
    else:
        save_file({name: t.clone() for name, t in content.get("state_dict", content).items()}, file)
    encoder = new_encoder(RESNET18, 3, seed=0)
    loaded = load_weights(encoder, file)
    with torch.no_grad():
        torch.testing.assert_close(
            encoder.eval()(IMAGES).embedding, embedding_of(network), rtol=1e-5, atol=1e-5
        )
    assert loaded.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert set(loaded.unused) == set(unused)
    assert loaded.prefix == prefix
    assert all(name in loaded.words for name in unused)


def test_lightlys_own_resnet_has_other_names(tmp_path):
    network = ResNetGenerator("resnet-18").eval()
    network.linear = nn.Identity()
    torch.save({f"backbone.{name}": t for name, t in network.state_dict().items()}, tmp_path / "w.pt")
    encoder = new_encoder(EncoderSettings(name="resnet18", stem="small"), 3, seed=0)
    load_weights(encoder, tmp_path / "w.pt")
    images = IMAGES[..., :32, :32]
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(images).embedding, network(images), rtol=1e-4, atol=1e-4)


def test_in_a_sequence_it_has_lost_the_relu_of_its_stem(tmp_path):
    """As in lightly's tutorials: nn.Sequential(*list(resnet.children())[:-1], nn.AdaptiveAvgPool2d(1))."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        children = list(ResNetGenerator("resnet-18").children())[:-1]
        network = nn.Sequential(*children, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        network.train()(IMAGES)
    file = tmp_path / "w.pt"
    torch.save({f"backbone.{name}": t for name, t in network.state_dict().items()}, file)
    encoder = new_encoder(EncoderSettings(name="resnet18", stem="lightly"), 3, seed=0)
    load_weights(encoder, file)
    with torch.no_grad():
        theirs, ours = network.eval()(IMAGES), encoder.eval()(IMAGES).embedding
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    with_relu = new_encoder(EncoderSettings(name="resnet18", stem="small"), 3, seed=0)
    before = fingerprint(with_relu)
    with pytest.raises(UserError, match=r"lost the ReLU.*encoder.stem in params.yaml to lightly"):
        load_weights(with_relu, file)
    assert fingerprint(with_relu) == before
    torch.save(ResNetGenerator("resnet-18").state_dict(), file)  # not in a sequence: with the ReLU
    with pytest.raises(UserError, match="set stem to small"):
        load_weights(encoder, file)


def test_a_vit_for_other_images_gives_its_positions_resampled_as_timm_does(tmp_path):
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(3)
        theirs = timm.create_model("test_vit", pretrained=False, img_size=224, num_classes=0)
        resized = timm.create_model("test_vit", pretrained=False, img_size=160, num_classes=0)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    encoder = build_encoder(TimmSettings(name="timm/test_vit"), 3).eval()
    assert encoder.model.pos_embed.shape == resized.pos_embed.shape != theirs.pos_embed.shape
    loaded = load_weights(encoder, tmp_path / "w.pth")
    assert "pos_embed has 197 places, resampled to the encoder's 101" in loaded.words
    state = checkpoint_filter_fn(theirs.state_dict(), resized)
    resized.load_state_dict(state)
    images = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        torch.testing.assert_close(encoder(images).embedding, resized.eval()(images), rtol=1e-4, atol=1e-4)
    state["pos_embed"] = state["pos_embed"][:, :90]  # no square grid
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match="pos_embed is"):
        load_weights(encoder, tmp_path / "w.pth")


def test_three_channels_are_summed_for_grey_images(tmp_path):
    """A grey image gives what the same image three times gives the network for colour."""
    network = trained_resnet()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    encoder = new_encoder(RESNET18, 1, seed=0).eval()
    loaded = load_weights(encoder, tmp_path / "w.pt")
    assert loaded.summed == "conv1.weight"
    grey = IMAGES[:, :1]
    with torch.no_grad():
        trunk = nn.Sequential(*list(network.children())[:-1], nn.Flatten())
        torch.testing.assert_close(
            encoder(grey).embedding, trunk(grey.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/convnext_atto"])
def test_timms_own_files_are_read(name, tmp_path):
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = timm.create_model(name.removeprefix("timm/"), pretrained=False)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    encoder = build_encoder(TimmSettings(name=name), 3)
    loaded = load_weights(encoder, tmp_path / "w.pth")
    assert all(name.startswith("head.") for name in loaded.unused)
    weights = encoder.model.state_dict()
    assert all(
        torch.equal(weights[key], tensor) for key, tensor in model.state_dict().items() if key in weights
    )


def changed(**changes):
    state = trained_resnet().state_dict()
    for name, change in changes.items():
        key = name.replace("__", ".")
        state[key] = change(state[key].clone())
    return state


def filled(value):
    return lambda tensor: tensor.fill_(value)


BROKEN = {
    "NaN": (lambda: changed(conv1__weight=filled(float("nan"))), ["conv1.weight", "NaN"]),
    "infinity": (lambda: changed(bn1__bias=filled(float("inf"))), ["bn1.bias", "infinity"]),
    "negative variance": (
        lambda: changed(bn1__running_var=filled(-1.0)),
        ["bn1.running_var", "negative variance"],
    ),
    "integers": (lambda: changed(conv1__weight=lambda t: t.long()), ["conv1.weight", "int64"]),
    "a deeper network": (
        lambda: torchvision.models.resnet34(weights=None).state_dict(),
        ["deeper", "layer1.2.conv1.weight"],
    ),
    "a deeper network of lightly's": (
        lambda: {
            f"backbone.{name}": tensor
            for name, tensor in nn.Sequential(
                *list(torchvision.models.resnet34(weights=None).children())[:-1]
            )
            .state_dict()
            .items()
        },
        ["deeper", "layer1.2.conv1.weight", "backbone.4.2.conv1.weight"],
    ),
    "a wider network": (
        lambda: torchvision.models.resnet50(weights=None).state_dict(),
        ["of another shape", "layer1.0.conv3.weight"],
    ),
    "missing keys": (
        lambda: {k: v for k, v in trained_resnet().state_dict().items() if not k.startswith("layer4.1")},
        ["missing, 10 of", "layer4.1.bn2.running_var"],
    ),
    "another kind of network": (
        lambda: nn.Linear(2, 2).state_dict(),
        ["missing", "not expected, 2: bias, weight"],
    ),
    "no tensors": (lambda: {"epoch": 3}, ["no state dict", "epoch"]),
    "a list": (lambda: [1, 2], ["no state dict", "list"]),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_what_cannot_be_right_is_one_message_and_changes_nothing(mistake, tmp_path):
    make, words = BROKEN[mistake]
    file = tmp_path / "w.pth"
    torch.save(make(), file)
    encoder = new_encoder(RESNET18, 3, seed=0)
    before = fingerprint(encoder)
    with pytest.raises(UserError) as error:
        load_weights(encoder, file)
    assert [word for word in [str(file), *words] if word not in str(error.value)] == []
    assert fingerprint(encoder) == before


@pytest.mark.parametrize(
    "name", ["torn.safetensors", "torn.pth", "empty.pth", "absent.pth", "text.safetensors"]
)
def test_files_that_cannot_be_read(name, tmp_path):
    whole = tmp_path / "whole.safetensors"
    save_file({"a": torch.zeros(3)}, whole)
    content = {"torn": whole.read_bytes()[:-5], "empty": b"", "text": b"{hello}"}
    if not name.startswith("absent"):
        (tmp_path / name).write_bytes(content[name.split(".")[0]])
    with pytest.raises(UserError, match=name):
        load_weights(new_encoder(RESNET18, 3, seed=0), tmp_path / name)


class Payload:
    def __reduce__(self):
        return (print, ("this was run",))


def test_nothing_in_a_file_is_run(tmp_path, capsys):
    torch.save({"state_dict": Payload()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="cannot be read as a state dict"):
        load_weights(new_encoder(RESNET18, 3, seed=0), tmp_path / "w.pth")
    assert "this was run" not in capsys.readouterr().out


def test_the_checksum_is_of_the_bytes_that_were_loaded(tmp_path, monkeypatch):
    """Also where the file is replaced as soon as it has been read."""
    file, settings = tmp_path / "w.pt", EncoderSettings(name="resnet18", stem="small", width=8)
    first = new_encoder(settings, 1, seed=1)
    torch.save(first.state_dict(), file)

    def read_and_replace(path):
        content = path.read_bytes()
        torch.save(new_encoder(settings, 1, seed=2).state_dict(), path)
        return content

    monkeypatch.setattr("imssl.encoders.weights.read_regular", read_and_replace)
    expected, encoder = hashlib.sha256(file.read_bytes()).hexdigest(), new_encoder(settings, 1, seed=0)
    assert load_weights(encoder, file).sha256 == expected
    assert fingerprint(encoder) == fingerprint(first)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"w.pt cannot be read: is a named pipe, not a file"):
        load_weights(
            new_encoder(EncoderSettings(name="resnet18", stem="small", width=8), 1, 0), tmp_path / "w.pt"
        )
