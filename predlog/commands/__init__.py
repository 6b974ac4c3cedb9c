"""One module a subcommand; each has `run`, which takes its arguments and gives the exit status."""
