"""Masks of layers: checked, kept through optimizers and copies, learned, found at any depth."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from deepgraph.sparse import (
    MaskableModule,
    MaskedLinearLayer,
    edge_values,
    follow,
    maskable_layers,
    maskable_layers_with_name,
    prunable_layers,
    prunable_layers_with_name,
)

MASK = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 1, 1, 1]], dtype=torch.bool)


class Nested(MaskableModule):
    def __init__(self) -> None:
        super().__init__()
        self.first = MaskedLinearLayer(5, 4)
        self.plain = nn.Linear(4, 4)
        self.deep = nn.ModuleDict({"block": nn.Sequential(nn.Sequential(MaskedLinearLayer(4, 3)), self.first)})


def masked(**options: object) -> MaskedLinearLayer:
    torch.manual_seed(0)
    layer = MaskedLinearLayer(5, 2, **options)  # type: ignore[arg-type]
    layer.mask = MASK
    return layer


def test_nested_layers_are_found_once_each() -> None:
    # deepstruct looks one level deep, and into ModuleList only.
    net = Nested()
    assert [name for name, _ in maskable_layers_with_name(net)] == ["first", "deep.block.0.0"]
    assert len(net.maskable_children) == 2
    assert net.first in net.maskable_children
    assert net.plain not in net.maskable_children
    assert list(prunable_layers(net)) == list(maskable_layers(net)) == net.maskable_children
    assert list(prunable_layers_with_name(net)) == net.maskable_children_with_name
    assert MaskableModule().maskable_children == []


def test_methods_chain_and_reach_every_layer() -> None:
    net = Nested()
    assert net.recompute_mask(0.2).apply_mask() is net
    assert net.first.get_weight_count() == int((net.first.weight.abs() >= 0.2).sum()) < 20
    before = net.first.mask
    assert net.reset_parameters(keep_mask=True) is net
    assert torch.equal(net.first.mask, before)
    assert (net.first.weight[~before] == 0).all()
    assert net.reset_parameters().first.get_weight_count() == 20


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float32])
def test_a_mask_is_returned_as_it_was_set(learned: bool, kind: torch.dtype) -> None:
    layer = MaskedLinearLayer(5, 2, mask_as_params=learned)
    assert layer.mask.all()
    layer.mask = MASK.to(kind)
    assert layer.mask.dtype == torch.bool
    assert torch.equal(layer.mask, MASK)
    assert layer.get_weight_count() == 5
    x = torch.randn(3, 5)
    assert torch.allclose(layer(x), x @ (layer.weight * MASK).T + layer.bias)
    assert layer[0, 1] == 0
    assert layer[0, 0] == layer.weight[0, 0]


@pytest.mark.parametrize("learned", [False, True])
def test_masks_of_another_shape_or_content_are_refused(learned: bool) -> None:
    # deepstruct takes any of these.
    layer = MaskedLinearLayer(5, 2, mask_as_params=learned)
    with pytest.raises(ValueError, match=r"expected shape \(2, 5\) as the weight's, got \(5, 2\); transpose it"):
        layer.mask = MASK.T
    with pytest.raises(ValueError, match=r"got \(5,\)"):
        layer.mask = MASK[0]
    with pytest.raises(ValueError, match="expected zeros and ones, got other numbers"):
        layer.mask = torch.rand(2, 5)
    with pytest.raises(TypeError, match="expected a tensor of bool or of zeros and ones, got list"):
        layer.mask = MASK.tolist()
    assert layer.mask.all()
    with pytest.raises(ValueError, match="theta: expected a finite number >= 0, got -1"):
        layer.recompute_mask(-1)
    with pytest.raises(ValueError, match=r"saliency: expected shape \(2, 5\)"):
        layer.saliency = torch.ones(5)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("keep", [True, False])
def test_recompute_keeps_masked_what_is_masked(learned: bool, keep: bool) -> None:
    # deepstruct computes the mask from the raw weights, which brings masked weights back.
    layer = MaskedLinearLayer(5, 2, mask_as_params=learned)
    nn.init.ones_(layer.weight)
    layer.mask = MASK
    layer.recompute_mask(0.5, keep_masked=keep)
    comes_back = learned and not keep
    assert torch.equal(layer.mask, torch.ones_like(MASK) if comes_back else MASK)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW])
def test_optimizers_never_move_masked_weights(learned: bool, make: type[torch.optim.Optimizer]) -> None:
    layer = masked(mask_as_params=learned)
    frozen = [p for name, p in layer.named_parameters() if name == "_mask"]
    optimizer = make([p for p in layer.parameters() if all(p is not f for f in frozen)], lr=0.1, weight_decay=0.5)  # type: ignore[call-arg]
    x = torch.randn(8, 5)
    layer(x)
    start = layer.weight.detach().clone()
    for _ in range(5):
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        optimizer.step()
    layer(x)
    assert torch.equal(layer.weight[~MASK], start[~MASK])
    assert not torch.equal(layer.weight[MASK], start[MASK])


def test_weights_that_were_moved_before_the_mask_stay_put_afterwards() -> None:
    layer = MaskedLinearLayer(5, 2)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1, weight_decay=0.5)
    follow(layer, optimizer)
    for mask in (torch.ones(2, 5), MASK):
        layer.mask = mask
        optimizer.zero_grad()
        layer(torch.randn(8, 5)).square().sum().backward()
        optimizer.step()
    assert (layer.weight[~MASK] == 0).all()


def test_learned_masks_start_on_and_get_gradients() -> None:
    # Those of deepstruct start all off, and argmax has no gradient.
    layer = MaskedLinearLayer(5, 2, mask_as_params=True)
    assert len(list(layer.parameters())) == 3
    assert dict(layer.named_parameters())["_mask"].numel() == 20
    assert layer.mask.all()
    x = torch.randn(16, 5)
    layer(x).square().sum().backward()
    gradient = layer._mask.grad
    assert gradient is not None
    assert (gradient != 0).all()
    assert torch.allclose(gradient[..., 0], -gradient[..., 1])


def test_a_learned_mask_finds_the_inputs_that_matter() -> None:
    torch.manual_seed(1)
    layer = MaskedLinearLayer(6, 1, mask_as_params=True)
    nn.init.ones_(layer.weight)
    layer.weight.requires_grad_(False)
    optimizer = torch.optim.Adam([layer._mask], lr=0.05)
    wanted = torch.tensor([[1.0, 0, 1, 0, 1, 0]])
    for _ in range(100):
        x = torch.randn(64, 6)
        optimizer.zero_grad()
        (layer(x) - x @ wanted.T - layer.bias).square().mean().backward()
        optimizer.step()
    assert torch.equal(layer.mask, wanted.bool())


def test_the_mask_is_an_edge_set() -> None:
    layer = masked()
    (values,) = edge_values(layer)
    assert values.edge_set.num_edges == 5
    values.edge_set.edit(drop=([0], [0]), reason="by hand")
    assert not layer.mask[0, 0]
    assert layer.weight[0, 0] == 0
    layer.mask = torch.ones(2, 5)
    assert layer.weight[0, 0] == 0
    assert [edit.reason for edit in values.edge_set.history] == ["mask", "by hand", "mask"]
    assert edge_values(MaskedLinearLayer(2, 2, mask_as_params=True)) == []


def test_apply_mask_repairs_what_other_code_wrote() -> None:
    layer = masked()
    nn.init.ones_(layer.weight)
    assert layer.apply_mask() is layer
    assert torch.equal(layer.weight.detach(), MASK.float())


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_all_floating_dtypes(dtype: torch.dtype, learned: bool) -> None:
    for layer in (
        MaskedLinearLayer(5, 2, mask_as_params=learned, dtype=dtype),
        masked(mask_as_params=learned).to(dtype),
    ):
        layer.mask = MASK
        y = layer(torch.ones(3, 5, dtype=dtype))
        assert y.dtype == dtype
        y.sum().backward()
        assert layer.weight.grad is not None
        assert (layer.weight.grad[~MASK] == 0).all()
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.ones(3, 5))


@pytest.mark.parametrize("learned", [False, True])
def test_copies_pickles_and_state_dicts_keep_the_mask(learned: bool) -> None:
    layer, x = masked(mask_as_params=learned), torch.randn(3, 5)
    fresh = MaskedLinearLayer(5, 2, mask_as_params=learned)
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    fresh.load_state_dict(torch.load(buffer))
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), fresh):
        assert torch.equal(twin.mask, MASK)
        assert torch.equal(twin(x), layer(x))
        twin.mask = torch.ones(2, 5)
        assert layer.get_weight_count() == 5


@pytest.mark.parametrize("learned", [False, True])
def test_input_and_saliency_are_kept(learned: bool) -> None:
    layer = MaskedLinearLayer(5, 2, keep_layer_input=True, mask_as_params=learned)
    assert layer.layer_input is None
    x = torch.randn(3, 5)
    layer(x)
    assert torch.equal(layer.layer_input, x)
    assert torch.equal(layer.saliency, layer.weight.abs())
    layer.saliency = torch.ones(2, 5)
    assert layer.saliency.sum() == 10
    assert "on=10" in repr(layer)


def test_saliency_follows_edits() -> None:
    layer = MaskedLinearLayer(5, 2)
    layer.saliency = torch.arange(10.0).view(2, 5)
    layer.mask = MASK
    assert torch.equal(layer.saliency, torch.arange(10.0).view(2, 5) * MASK)
    layer.mask = torch.ones(2, 5)
    assert layer.saliency[0, 1] == 0
    assert layer.saliency[1, 4] == 9
