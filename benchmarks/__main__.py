"""`python -m benchmarks`: all of them."""

from __future__ import annotations

import sys

from benchmarks import build, codecs, loader, train_step
from benchmarks.command import main

if __name__ == "__main__":
    sys.exit(
        main(
            "benchmarks",
            [loader.run, codecs.decoding, codecs.handing_over, build.run, train_step.run, train_step.overhead],
        )
    )
