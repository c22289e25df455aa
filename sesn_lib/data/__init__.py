"""Data sets as tensors on a device, with their augmentations."""
