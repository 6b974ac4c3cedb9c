"""Results as lines for a terminal or a pipe, and as objects for JSON."""
