"""Plans a training without starting anything: batch, epochs, operations, memory per GPU, disk, and what fits."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.console import ends_politely, positive, positive_number
from ds_nowcast.config.overrides import add_set_option
from ds_nowcast.launch.ending import parser
from ds_nowcast.planning.findings import SIZE, Asked, plan
from ds_nowcast.planning.table import show

EXAMPLE = "python -m ds_nowcast.plan --deepspeed_config ds_configs/unet_zero2_bf16.json --gpus 8 --gpu-memory 80"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = parser("python -m ds_nowcast.plan", "Plan a training without starting anything.", EXAMPLE)
    options.add_argument("--deepspeed_config", required=True, metavar="FILE", type=Path, help="config of the training")
    options.add_argument("--gpus", type=positive, default=1, metavar="N", help="GPUs of all hosts together (default 1)")
    options.add_argument(
        "--gpu-memory",
        type=positive_number,
        metavar="GB",
        help="memory of each, in 10^9 bytes (default: the GPU's here)",
    )
    options.add_argument(
        "--shards", metavar="DIR", help="shards folder: says how many windows and how large images are"
    )
    options.add_argument("--size", type=positive, metavar="PX", help=f"pixels of square images (default {SIZE})")
    options.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where ranks run (default cuda)")
    add_set_option(options)
    options.add_argument("--json", action="store_true", help="one JSON object")
    args = options.parse_args(argv)

    def run() -> int:
        memory = None if args.gpu_memory is None else int(args.gpu_memory * 1e9)
        asked = Asked(args.deepspeed_config, args.set, args.gpus, args.device, memory, args.shards, args.size)
        found = plan(asked)
        if args.json:
            print(json.dumps(found.to_json(), indent=1))
        else:
            show(found, quiet=args.quiet)
        return 0

    return ends_politely(run)


if __name__ == "__main__":
    sys.exit(main())
