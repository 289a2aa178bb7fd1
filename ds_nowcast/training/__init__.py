"""The training loop's parts: one optimizer step, checkpoints, the run folder, the display, a wish to stop."""
