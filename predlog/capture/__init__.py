"""A pair becomes a few numbers, without waiting for the device."""
