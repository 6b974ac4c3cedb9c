"""One module per subcommand; each has `run`, which takes the parsed arguments and returns the exit status.

The demo has a package of its own, `predlog.cli.demo`.
"""
