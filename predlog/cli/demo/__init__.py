"""A small real training with predlog on, and the mistakes that it can make."""
