"""What is measured here, and against what: `python -m benchmarks` runs all, as `__main__.py` lists them; each is a command of its own."""
