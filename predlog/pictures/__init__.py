"""What the commands say of a run, as lines for a terminal or a pipe, and as objects for JSON."""
