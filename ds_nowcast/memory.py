"""The most memory that a rank has held."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

import torch


def peak_bytes(device: torch.device) -> int:
    """Of the GPU, or of the host where there is none."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else host_peak_bytes()


def host_peak_bytes() -> int:
    """The process's high-water mark as the kernel keeps it (VmHWM of proc(5)).

    getrusage would tell that of the process it was forked from where that was larger.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
