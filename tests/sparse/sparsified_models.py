"""Models of PyTorch modules for tests of `sparsify`: shaped like a ResNet, a transformer and a recurrent network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions with batch norm and a shortcut, the second one grouped."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, groups=2, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Conv2d(into, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out, H / stride, W / stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet() -> nn.Module:
    """Return a net for inputs (B, 3, 8, 8) with 5 outputs."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), Block(4, 4, 1), Block(4, 8, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 5),
    )  # fmt: skip


class Transformer(nn.Module):
    """Token embedding, an encoder layer, and attention to keys of another width."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.cross = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, 5) for tokens (B, L)."""
        x = self.encoder(self.embedding(tokens))
        y, _ = self.cross(x, x[..., :6], x[..., 2:6])
        result: Tensor = self.head((x + y).mean(1))
        return result


class Recurrent(nn.Module):
    """An LSTM with projection, a GRU and a cell, then a transposed convolution over time."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, num_layers=2, proj_size=4, batch_first=True)
        self.gru = nn.GRU(4, 6, bidirectional=True, batch_first=True)
        self.up = nn.ConvTranspose1d(12, 4, 3, groups=2)
        self.cell = nn.GRUCell(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 5) for x (B, L, 6)."""
        y, _ = self.lstm(x)
        y, _ = self.gru(y)
        result: Tensor = self.cell(self.up(y.transpose(1, 2)).mean(2))
        return result


MODELS = {"resnet": resnet, "transformer": Transformer, "recurrent": Recurrent}


def make(kind: str, seed: int = 0) -> nn.Module:
    """Return a model in float64 with weights from `seed`, without touching the global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MODELS[kind]().double()


def inputs(kind: str, seed: int = 0, batch: int = 4) -> Tensor:
    """Return inputs of a model."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "transformer":
        return torch.randint(0, 11, (batch, 6), generator=generator)
    shape = (batch, 3, 8, 8) if kind == "resnet" else (batch, 4, 6)
    return torch.randn(shape, generator=generator, dtype=torch.float64)
