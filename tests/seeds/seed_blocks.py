"""The code blocks of five earlier systems' texts, verbatim, and the listed patches under which they run here.

Every block runs after its imports were renamed (`RENAMED`) and its patches (`PATCHES`) were made; each patch has its
reason. A patch or a name that no longer occurs in its block is an error, and so is a block that no test runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TEXTS = Path(__file__).parent / "texts"
SYSTEMS = ("deepstruct", "deeprewire", "actuallysparse", "fastsparse", "aslp")


@dataclass(frozen=True)
class Block:
    """One fenced block: its system, its number in the text from 0, its language and its lines."""

    system: str
    number: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """Name for test ids."""
        return f"{self.system}-{self.number}"


def blocks(system: str) -> list[Block]:
    """Return the blocks of one text, in order."""
    text = (TEXTS / f"{system}.txt").read_text(encoding="utf-8")
    found = re.findall(r"^```[ ]*(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [Block(system, number, language, body) for number, (language, body) in enumerate(found)]


RENAMED: dict[str, list[tuple[str, str]]] = {
    "deepstruct": [("import deepstruct", "import deepgraph"), ("from deepstruct", "from deepgraph"),
                   ("deepstruct.", "deepgraph.")],
    "actuallysparse": [("from actuallysparse.converter import", "from deepgraph.converter import")],
    "fastsparse": [("from fastsparse.core import *", "from deepgraph.integrations.fastai import *")],
}  # fmt: skip
"""(old, new) of import lines and of the package's name in front of a dot."""


@dataclass(frozen=True)
class Patch:
    """A change of one block and why it is needed."""

    block: str
    old: str
    new: str
    reason: str


PATCHES = [
    Patch("deepstruct-3", "model = None  # take the model e.g. from above", "model = deepgraph.sparse.MaskedDeepFFN("
          "input_shape, 2, [8])", "as printed there is no model to transform"),
    Patch("deepstruct-3", "import torch\n", "import torch\nimport deepgraph.sparse\n",
          "the model that the text leaves out needs its module"),
    Patch("deeprewire-0", "model = someTorchModule()", "model = nn.Linear(4, 3)", "the class is a placeholder"),
    Patch("deeprewire-0", "SoftDEEPR(sparse_params,", "SoftDEEPR(rewireable_params,",
          "sparse_params is never defined; the line above names the list rewireable_params"),
    Patch("deeprewire-0", "torch.optim.SGD(lr=0.05)", "torch.optim.SGD(other_params or [torch.zeros(1)], lr=0.05)",
          "SGD takes parameters, and refuses an empty list"),
    Patch("deeprewire-0", "# [... STANDARD TRAINING LOOP ...]", "train(model, optim1)", "the loop is left out"),
    Patch("deeprewire-1", "convert_to_deep_rewireable(", "def declared(", "a declaration without its `def`"),
    Patch("deeprewire-1", "keep_signs: bool = False)", "keep_signs: bool = False): ...", "and without its body"),
    Patch("deeprewire-2", "convert_from_deep_rewireable(module: nn.Module)", "def declared(module: nn.Module): ...",
          "a declaration without `def` and body"),
    Patch("fastsparse-0", "from fastai.vision.all import *\n", "",
          "fastai needs torchvision, whose wheel is a CUDA build; the test brings stand-ins of the names used, and "
          "tests/integrations/test_fastai.py runs the callback in fastai's own Learner where it can be imported"),
    Patch("fastsparse-0", "path = untar_data(URLs.MNIST)\n", "", "a download; the bundled sample stands for it"),
    Patch("fastsparse-0", "ImageDataLoaders.from_folder(path, 'training', 'testing')", "sample_loader()",
          "the bundled sample instead of the download"),
    Patch("fastsparse-0", "cnn_learner(dls, resnet34, metrics=error_rate, pretrained=False)",
          "cnn_learner(dls, small_network, metrics=error_rate, pretrained=False)",
          "resnet34 comes from torchvision and takes minutes"),
    Patch("aslp-0", "git clone https://github.com/N0ciple/ASLP.git", "test -f examples/supermask.py",
          "there is nothing to clone"),
    Patch("aslp-1", "pip install -r requirements.txt", "python -c 'import deepgraph'", "no network in tests"),
    Patch("actuallysparse-5", "pip install .\n", "python -c 'import deepgraph'\n", "no network in tests"),
    Patch("actuallysparse-5", "conda develop .\n", "python -c 'import deepgraph.errors'\n", "no conda in tests"),
    *(Patch(f"aslp-{n}", "python main.py", "python examples/supermask.py --epochs 1 --samples 20 --batch-size 10",
            "the command's name here; one short epoch on the bundled sample instead of 1000 on CIFAR-10")
      for n in (2, 3, 4)),
]  # fmt: skip


def patched(block: Block) -> str:
    """Return the block's code after renaming and patching; AssertionError for a patch that does not apply."""
    code = block.text
    for patch in PATCHES:
        if patch.block == block.name:
            assert code.count(patch.old) == 1, f"{block.name}: {patch.old!r} occurs {code.count(patch.old)} times"
            code = code.replace(patch.old, patch.new)
    for old, new in RENAMED.get(block.system, []):
        code = code.replace(old, new)
    return code
