"""Searching among settings of a config by real runs: what is tried, what came of it, and what to take."""
