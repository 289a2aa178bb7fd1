"""What `build` does between an archive's listing and its shards: runs of frames, splits, a plan, a folder that can be resumed."""
