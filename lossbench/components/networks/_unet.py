"""The module of a U-Net: what goes where."""

from collections.abc import Sequence

from lossbench.lazy import Tensor, nn, torch


class UNet(nn.Module):
    """Blocks on the way down, and on the way up each beside what was seen at its size."""

    def __init__(
        self,
        downs: Sequence[nn.Module],
        enlarge: Sequence[nn.Module],
        ups: Sequence[nn.Module],
        output: nn.Module,
    ) -> None:
        super().__init__()
        self.downs = nn.ModuleList(downs)
        self.enlarge = nn.ModuleList(enlarge)
        self.ups = nn.ModuleList(ups)
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of every pixel."""
        seen = []
        for down in self.downs:
            x = down(x)
            seen.append(x)
        for beside, enlarge, up in zip(seen[-2::-1], self.enlarge, self.ups, strict=True):
            x = up(torch.cat([enlarge(x), beside], dim=1))
        result: Tensor = self.output(x)
        return result
