"""Bytes that live in a forward and backward pass: of nets whose tensors can be counted by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ds_nowcast.planning.timeline import LiveBytes, Moment, timeline


def of(model: nn.Module, elements: int) -> list[Moment]:
    counter = LiveBytes()
    counter.passes_over(model)
    return timeline(model, lambda: model(torch.empty(1, elements, device="meta")).sum(), counter)


class Scale(nn.Module):
    """x -> x * weight: keeps x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1000, device="meta"))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def test_what_is_kept_for_backward_lives_until_it_was_used() -> None:
    (scaled, end) = of(Scale(), 1000)
    assert (scaled.parameter, end.parameter) == (0, -1)
    assert 8000 <= scaled.peak <= 12100  # x and the product, then x, the gradient and its sum over the batch
    assert scaled.after < 100 and end.after == 0


def test_storages_that_share_memory_count_once() -> None:
    counter = LiveBytes()
    with counter:
        x = torch.empty(1000, device="meta")
        views = [x.view(10, 100), x[:10], x.t()]
        assert counter.live == 4000
        del x, views
        assert counter.live == 0
    assert counter.mark() == 4000 and counter.mark() == 0


def test_the_peak_is_kept_until_it_is_marked() -> None:
    counter = LiveBytes()
    with counter:
        x = torch.empty(100, device="meta") + torch.empty(100, device="meta")
        assert counter.live == 400
    assert (counter.mark(), counter.mark()) == (1200, 400)
    assert x.shape == (100,)


def test_gradients_come_in_the_order_of_the_backward_pass_and_are_handed_over() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).to("meta")
    moments = of(model, 8)
    assert [moment.parameter for moment in moments[-1:]] == [-1] and {m.parameter for m in moments[:-1]} == {0, 1, 2, 3}
    last_layer = [number for number, moment in enumerate(moments) if moment.parameter in (2, 3)]
    assert max(last_layer) < min(n for n, moment in enumerate(moments) if moment.parameter in (0, 1))
    assert moments[-1].after == 0 and all(parameter.grad is None for parameter in model.parameters())


def test_a_convolution_s_workspace_is_there_while_it_runs() -> None:
    model = nn.Conv2d(1, 1, 1, bias=False).to("meta")
    counter = LiveBytes(lambda tensors: 5000)
    counter.passes_over(model)
    (moment, _) = timeline(model, lambda: model(torch.empty(1, 1, 10, 10, device="meta")).sum(), counter)
    assert moment.peak == 400 + 400 + 5000  # of operand and result


def test_frozen_parameters_have_no_moment() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).to("meta")
    model[0].requires_grad_(False)
    assert {moment.parameter for moment in of(model, 8)} == {0, 1, -1}
