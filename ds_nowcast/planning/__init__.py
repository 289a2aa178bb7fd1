"""What a training will need, found without starting it: memory, disk, operations, and which way of training fits."""
