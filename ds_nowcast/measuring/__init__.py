"""Measuring real optimizer steps of a config, and launching such measurements."""
