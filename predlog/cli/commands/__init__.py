"""One module per subcommand; each has `run`, which takes the parsed arguments and returns the exit status."""
