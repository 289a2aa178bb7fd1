"""What `inspect` finds out: which format an archive has, what it holds, what a shards folder holds, where it all lies."""
