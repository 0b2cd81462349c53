"""The modules of activations that look at more than their own input."""

from lossbench.lazy import Tensor, nn, torch


class FunnelReLU(nn.Module):
    """The larger of the input and a normalised window of weights around it."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=False
        )
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated image."""
        return torch.maximum(x, self.norm(self.conv(x)))


class DynamicReLU(nn.Module):
    """The largest of k lines per channel, whose slopes and offsets the whole image decides."""

    reach: Tensor
    start: Tensor

    def __init__(
        self, channels: int, k: int, reduction: int, slope: float | Tensor, offset: float | Tensor
    ) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.k = k
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, 2 * k * channels)
        # The first line starts as the identity, the others as 0.
        reach = torch.stack([torch.as_tensor(end).float() for end in [slope] * k + [offset] * k])
        start = torch.tensor([1.0] + [0.0] * (2 * k - 1))
        self.register_buffer("reach", reach, persistent=False)
        self.register_buffer("start", start, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated image."""
        hidden = torch.relu(self.squeeze(x.mean((-2, -1))))
        residuals = 2 * torch.sigmoid(self.excite(hidden)) - 1
        lines = residuals.view(*x.shape[:2], 2 * self.k) * self.reach + self.start
        slopes, offsets = lines[..., None, None, :].split(self.k, -1)
        return (x.unsqueeze(-1) * slopes + offsets).amax(-1)


class MetaAcon(nn.Module):
    """ACON whose switch, activate or not, a small network decides for each channel and image."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(reduction, channels // reduction)
        self.p1 = nn.Parameter(torch.randn(channels))
        self.p2 = nn.Parameter(torch.randn(channels))
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated image."""
        beta = torch.sigmoid(self.fc2(self.fc1(x.mean((-2, -1)))))[..., None, None]
        difference = (self.p1 - self.p2)[:, None, None] * x
        return difference * torch.sigmoid(beta * difference) + self.p2[:, None, None] * x
