"""A convolution that does no work for the padding around a map of one pixel."""

from torch import Tensor, nn
from torch.nn import functional as F


class Conv2d(nn.Conv2d):
    """torch's convolution, which on a map of one pixel applies only the centre of its kernel.

    The other taps meet only zeros there. Images of up to 32 pixels are reduced to such maps in the last block
    of a ResNet, which holds most of its weights.
    """

    def forward(self, input: Tensor) -> Tensor:
        """As nn.Conv2d, (B, C, H, W)."""
        if input.shape[-2:] != (1, 1) or not self._is_centred():
            return super().forward(input)
        row, column = (length // 2 for length in self.kernel_size)
        centre = self.weight[:, :, row : row + 1, column : column + 1]
        return F.conv2d(input, centre, self.bias, self.stride, groups=self.groups)

    def _is_centred(self) -> bool:
        """Whether the kernel's centre lies on the only pixel, with zeros around it."""
        centred = tuple(2 * padding + 1 for padding in self.padding if isinstance(padding, int))
        return self.kernel_size == centred and self.dilation == (1, 1) and self.padding_mode == "zeros"


def skip_padding(module: nn.Module) -> None:
    """Turn every plain convolution of a module into `Conv2d`; weights and names stay as they are."""
    for layer in module.modules():
        if type(layer) is nn.Conv2d:
            layer.__class__ = Conv2d
