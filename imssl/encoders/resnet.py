"""A torchvision ResNet that returns the features of all its four blocks."""

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from imssl.batch_norm import SplitBatchNorm2d
from imssl.convolution import skip_padding
from imssl.encoders.encoder import Encoder, Features
from imssl.settings.encoder import EncoderSettings

ARCHITECTURES: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}


class ResNet(Encoder):
    """ResNet without its classifier; module names and shapes are torchvision's.

    Args:
        settings: architecture, stem and width.
        channels: 1 for grey images, 3 for colour.
    """

    def __init__(self, settings: EncoderSettings, channels: int) -> None:
        super().__init__()
        block, depths = ARCHITECTURES[settings.name]
        width = settings.width
        self.channels = channels
        if settings.stem == "imagenet":
            self.conv1 = nn.Conv2d(channels, width, kernel_size=7, stride=2, padding=3, bias=False)
            self.maxpool: nn.Module = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        else:
            self.conv1 = nn.Conv2d(channels, width, kernel_size=3, stride=1, padding=1, bias=False)
            self.maxpool = nn.Identity()
        self.bn1 = SplitBatchNorm2d(width)
        self.relu: nn.Module = nn.Identity() if settings.stem == "lightly" else nn.ReLU(inplace=True)
        self.layer1 = _layer(block, width, width, depths[0], stride=1)
        self.layer2 = _layer(block, width * block.expansion, width * 2, depths[1], stride=2)
        self.layer3 = _layer(block, width * 2 * block.expansion, width * 4, depths[2], stride=2)
        self.layer4 = _layer(block, width * 4 * block.expansion, width * 8, depths[3], stride=2)
        self.block_widths = tuple(width * factor * block.expansion for factor in (1, 2, 4, 8))
        _initialise(self)
        skip_padding(self)

    @property
    def has_stem_relu(self) -> bool:
        """Whether a ReLU follows the stem's batch norm, as in every ResNet but lightly's by its children."""
        return isinstance(self.relu, nn.ReLU)

    @property
    def stride(self) -> int:
        """Pixels from one position of the last block's map to the next: S pixels become ceil(S / stride)."""
        return 32 if isinstance(self.maxpool, nn.MaxPool2d) else 8

    @property
    def parts(self) -> list[nn.Module]:
        """The stem and the residual blocks, which are run one after another."""
        stem = nn.Sequential(self.conv1, self.bn1, self.relu, self.maxpool).train(self.training)
        return [stem, *self.layer1, *self.layer2, *self.layer3, *self.layer4]

    def forward(self, images: Tensor) -> Features:
        """Features of normalised images (B, C, H, W), float32."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        block1 = self.layer1(x)
        block2 = _strided(self.layer2, block1)
        block3 = _strided(self.layer3, block2)
        return Features((block1, block2, block3, _strided(self.layer4, block3)))


def _layer(
    block: type[BasicBlock] | type[Bottleneck],
    inputs: int,
    width: int,
    depth: int,
    stride: int,
) -> nn.Sequential:
    outputs = width * block.expansion
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False),
            SplitBatchNorm2d(outputs),
        )
    first = block(inputs, width, stride, downsample, norm_layer=SplitBatchNorm2d)
    rest = [block(outputs, width, norm_layer=SplitBatchNorm2d) for _ in range(depth - 1)]
    return nn.Sequential(first, *rest)


def _strided(layer: nn.Module, maps: Tensor) -> Tensor:
    # In bfloat16 on the CPU, oneDNN leaves the weight gradient of a strided convolution on 1x1 maps
    # uninitialised (seen in torch 2.15; images of up to 16 pixels are reduced to such maps).
    if maps.shape[-1] > 1:
        return layer(maps)
    with torch.autocast(maps.device.type, enabled=False):
        return layer(maps.float())


def _initialise(encoder: nn.Module) -> None:
    # As torchvision does. The released code of Kaku et al. zero-initialises the residual branches of
    # MoCo + MSE and MoCo + Barlow but not of plain MoCo; here no method does, so only the loss differs.
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
