"""Run by test_learning_rate in a process of its own: the learning rates of an engine's first four steps, of each config."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import nn

from ds_nowcast import ranks as process_group
from ds_nowcast.engine import Engine
from ds_nowcast.ranks import Ranks


def rates_of(config: dict[str, Any], ranks: Ranks) -> list[float]:
    engine, found = Engine(nn.Conv2d(1, 1, 1), config, ranks), list[float]()
    while len(found) < 4:
        engine.backward(engine(torch.ones(1, 1, 2, 2)).square().mean())
        stepped = engine.step()
        assert stepped is not None
        found.append(stepped.lr)
    return found


def main() -> None:
    ranks = process_group.join(always=True)
    print(json.dumps([rates_of(config, ranks) for config in json.load(sys.stdin)]))
    process_group.leave()


if __name__ == "__main__":
    main()
