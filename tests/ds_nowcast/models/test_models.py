"""What holds for every model, on small ones of each kind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from data_prep.errors import UserError
from ds_nowcast.models import MODELS, NowcastModel, build_model, check_size, model_options, model_presets, outline

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "unet": ("unet", {"width": 8, "levels": 2, "groups": 4}),
    "unet residual": ("unet", {"width": 8, "levels": 2, "groups": 4, "residual": True}),
    "convnext_unet": ("convnext_unet", {"width": 8, "depth": 1}),
    "evolution_unet": ("evolution_unet", {"width": 8, "levels": 2, "groups": 4}),
    "evolution_unet flow": ("evolution_unet", {"width": 8, "levels": 2, "groups": 4, "first_guess": "flow"}),
    "simvp gsta": ("simvp", {"spatial_width": 8, "spatial_depth": 2, "temporal_width": 16, "temporal_depth": 2}),
    "simvp incepu": (
        "simvp",
        {"translator": "incepu", "spatial_width": 8, "temporal_width": 16, "temporal_depth": 3, "residual": True},
    ),
}
every_model = pytest.mark.parametrize("kind", SMALL)


def small(kind: str, inputs: int = 5, outputs: int = 3, **options: object) -> NowcastModel:
    torch.manual_seed(0)
    name, settings = SMALL[kind]
    return build_model(name, {**settings, **options}, inputs, outputs)


def stirred(kind: str, **options: object) -> NowcastModel:
    """As after some training: no weight is zero any more."""
    model = small(kind, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model


def past(model: NowcastModel, rows: int = 2, columns: int = 1, frames: int = 5) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(2, frames, rows * model.stride, columns * model.stride)


def test_there_is_a_small_one_of_each_model() -> None:
    assert {name for name, _ in SMALL.values()} == set(MODELS)


@every_model
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (5, 3), (2, 4), (3, 3)])
def test_it_maps_past_frames_to_future_frames_at_any_size_that_its_stride_divides(
    kind: str, inputs: int, outputs: int
) -> None:
    model = small(kind, inputs, outputs)
    for rows, columns in ((1, 1), (2, 3)):
        shape = (2, inputs, rows * model.stride, columns * model.stride)
        assert model(torch.rand(shape)).shape == (2, outputs, *shape[2:])


@every_model
def test_every_parameter_gets_a_gradient(kind: str) -> None:
    model = stirred(kind)
    model(past(model)).square().sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-5]


@pytest.mark.slow
@every_model
def test_training_from_the_first_weights_reaches_every_parameter(kind: str) -> None:
    model, frames = small(kind), past(small(kind))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):  # a head that starts at zero lets nothing through in the first step
        optimizer.zero_grad()
        (model(frames) - 1).square().mean().backward()
        optimizer.step()
    assert not [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]


@pytest.mark.slow
@every_model
def test_bf16_forecasts_are_close_to_fp32(kind: str) -> None:
    model = stirred(kind).eval()
    frames = past(model, 4, 4)
    with torch.no_grad():
        reference = model(frames)
        with torch.autocast("cpu", torch.bfloat16):
            autocast = model(frames)
        bf16 = model.to(torch.bfloat16)(frames.to(torch.bfloat16))
    assert bf16.dtype == torch.bfloat16
    for forecast in (autocast, bf16):
        assert 0 < (forecast.float() - reference).abs().mean() < 0.03 * reference.std()


@every_model
def test_channels_last_images_give_the_same_forecast(kind: str) -> None:
    model = stirred(kind).eval()
    frames = past(model, 4, 4)
    with torch.no_grad():
        channels_last = model(frames.to(memory_format=torch.channels_last))
        torch.testing.assert_close(channels_last, model(frames), rtol=1e-4, atol=1e-5)


class Memory(TorchDispatchMode):
    """Bytes of the tensors made under it that something still holds; `given` were there before, as are views of them."""

    def __init__(self, given: Iterable[Tensor]) -> None:
        super().__init__()
        self.given = {StorageWeakRef(tensor.untyped_storage()).cdata for tensor in given}
        self.made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                reference = StorageWeakRef(tensor.untyped_storage())
                self.made[reference.cdata] = reference, tensor.untyped_storage().nbytes()
        return made

    def held(self) -> int:
        made = [self.made[key] for key in self.made.keys() - self.given]
        return sum(size for reference, size in made if not reference.expired())


def step(model: NowcastModel, frames: Tensor) -> tuple[Tensor, list[Tensor], int]:
    """Loss, gradients and the bytes held for the backward pass."""
    model.zero_grad()
    with Memory([*model.parameters(), frames]) as memory:
        loss = model(frames).square().mean()
        held = memory.held()
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None], held


@pytest.mark.slow
@every_model
def test_checkpointing_activations_holds_less_and_changes_nothing(kind: str) -> None:
    model = stirred(kind).train()
    frames = past(model, 2, 2)
    loss, gradients, held = step(model, frames)
    model.checkpoints_activations = True
    loss_again, gradients_again, held_again = step(model, frames)
    torch.testing.assert_close(loss_again, loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradients_again, gradients, rtol=1e-4, atol=1e-6)
    assert 0 < held_again < 0.5 * held
    with torch.no_grad():  # nothing to recompute
        assert torch.equal(model.eval()(frames), model.train()(frames))


@every_model
def test_it_is_built_and_run_without_memory_on_the_meta_device(kind: str) -> None:
    model = outline(*SMALL[kind], 13, 12)
    future = model(torch.rand(1, 13, 384, 384, device="meta"))
    assert future.shape == (1, 12, 384, 384) and future.is_meta
    assert all(tensor.is_meta for tensor in model.state_dict().values())


@pytest.mark.slow
@every_model
def test_it_compiles_as_one_graph(kind: str) -> None:
    model = stirred(kind)
    frames = past(model)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(frames), model(frames))


FINITE = {"unet": {"norm": "none"}, "convnext_unet": {}, "evolution_unet": {"norm": "none", "max_motion": 4.0}}


@pytest.mark.parametrize(
    ("kind", "options"), [*((kind, {}) for kind in SMALL), *FINITE.items(), ("unet", {"norm": "batch"})]
)
def test_whether_far_pixels_matter_is_as_declared(kind: str, options: dict[str, object]) -> None:
    model = stirred(kind, **options).eval()
    frames = torch.rand(1, 5, 1024, 32)
    changed = frames.clone()
    changed[..., :32, :] = 0.0
    with torch.no_grad():
        difference = model(changed) - model(frames)
    assert difference[..., :32, :].any()
    assert (model.receptive_field is not None) == (not difference[..., -32:, :].any())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"), [*FINITE.items(), ("unet", {"norm": "batch", "levels": 3}), ("convnext_unet", {"depth": 2})]
)
def test_no_pixel_beyond_the_receptive_field_matters_and_some_near_its_edge_do(
    kind: str, options: dict[str, object]
) -> None:
    model = stirred(kind, **options).eval()
    reach = model.receptive_field
    assert reach is not None
    middle = (reach // 32 + 2) * 32
    frames = torch.rand(1, 5, 2 * middle, 32, requires_grad=True)
    reached = []
    for row in range(middle, middle + model.stride):  # those of a block see differently far
        [gradient] = torch.autograd.grad(model(frames)[..., row, :].sum(), frames)
        rows = gradient.abs().sum((0, 1, 3)).nonzero()[:, 0]
        reached.append(max(row - int(rows.min()), int(rows.max()) - row))
    assert max(reached) <= reach
    if not kind.startswith("evolution"):  # whose bound is of motion as fast as it may be
        assert max(reached) == reach


def test_the_models_said_to_see_a_bounded_neighbourhood_are_these() -> None:
    assert all(small(kind, **options).receptive_field is not None for kind, options in FINITE.items())
    assert [kind for kind in SMALL if small(kind).receptive_field is not None] == ["convnext_unet"]


@pytest.mark.parametrize("kind", ["unet residual", "convnext_unet", "evolution_unet", "simvp incepu"])
def test_what_predicts_change_starts_at_persistence_to_the_bit_and_learns(kind: str) -> None:
    model = small(kind)
    frames = past(model, 3, 5)
    future = model(frames)
    assert torch.equal(future, frames[:, -1:].expand_as(future))
    (future - 1).square().mean().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


@every_model
def test_the_forward_refuses_a_size_that_its_stride_does_not_divide(kind: str) -> None:
    model = small(kind)
    rows, columns = model.stride + model.stride // 2, model.stride
    with pytest.raises(
        UserError, match=f"{rows} x {columns} pixels do not fit a model of stride {model.stride}: give sizes"
    ):
        model(torch.rand(1, 5, rows, columns))


@pytest.mark.parametrize(
    ("size", "advice"),
    [((100, 100), "such as 96 or 112"), ((96, 100), "such as 96 x 96 or 96 x 112"), ((10, 10), "such as 16 (build")],
)
def test_a_size_that_does_not_divide_is_refused_with_the_nearest_that_do(size: tuple[int, int], advice: str) -> None:
    with pytest.raises(UserError, match=re.escape(advice)):
        check_size(16, *size)
    check_size(16, 96, 112)


@pytest.mark.parametrize("name", MODELS)
def test_a_misspelled_option_is_refused_with_the_one_that_was_meant(name: str) -> None:
    option = next(iter(model_options(name).model_fields))
    with pytest.raises(UserError, match=f"did you mean '{option}'"):
        build_model(name, {option[:-1] + "k": 8}, 13, 12)


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=f"'resnet' is not known; choose one of {', '.join(MODELS)}"):
        build_model("resnet", {}, 13, 12)


@pytest.mark.parametrize("name", MODELS)
def test_every_option_of_every_model_is_described(name: str) -> None:
    assert all(field.description for field in model_options(name).model_fields.values())


@pytest.mark.parametrize(("name", "preset"), [(name, preset) for name in MODELS for preset in model_presets(name)])
def test_no_tensor_of_a_preset_is_too_large_for_one_rank_to_gather(name: str, preset: str) -> None:
    model = outline(name, {"preset": preset}, 13, 12)
    assert max(parameter.numel() for parameter in model.parameters()) < 100e6
