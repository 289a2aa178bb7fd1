"""Scores as sums, an evaluation over a split, and what it shows."""
