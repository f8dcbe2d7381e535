"""Blocks that models are built from. Nothing here knows a file, a device or an optimizer."""
