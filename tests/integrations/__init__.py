"""Real trainings in other people's loops, and records in other people's trackers."""
