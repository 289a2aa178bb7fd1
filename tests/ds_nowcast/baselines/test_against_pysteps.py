"""Our extrapolation beside pysteps' dense Lucas-Kanade and semi-Lagrangian one, on real and on simulated rain."""

from __future__ import annotations


