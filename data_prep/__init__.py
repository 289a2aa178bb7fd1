"""Radar archives to WebDataset tar shards; needs neither torch nor deepspeed to be imported."""
