"""Speed as ratios: our figure, the limit's and the peers', measured in turns in one run, so that a busy machine slows all alike.

`python -m benchmarks` runs all; `python -m benchmarks.loader`, `.codecs`, `.build` and `.train_step` a part each. With
NOWCAST_RADAR_DATA set they work on real rain, else on simulated storms.
"""
