"""How a terminal is written to: styles, and tables of tokens."""
