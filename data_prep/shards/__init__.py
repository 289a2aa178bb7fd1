"""The form of a shards folder: samples in tars, their index, reading and writing them."""
