"""Configs, one JSON per kind of run; README.md says which to take."""
