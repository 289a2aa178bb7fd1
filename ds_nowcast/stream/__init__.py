"""From positions in an order of samples to code batches on the device."""
