"""The `predlog` command, its subcommands, and the demo."""
