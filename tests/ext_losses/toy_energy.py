"""An energy of points in the plane."""

from torch import Tensor, nn


class ToyEnergy(nn.Module):
    """U(x) = (MLP(x))^2 of points (n, 2)."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, points: Tensor) -> Tensor:
        return self.net(points).square()
