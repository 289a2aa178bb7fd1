"""Speed as ratios: our figure, the limit's and the peers', measured in turns in one run, so that a busy machine slows all alike.

`python -m benchmarks` runs all; `python -m benchmarks.loader`, `.build` and `.train_step` one each.
"""
