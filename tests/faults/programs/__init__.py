"""What the experiments run in processes of their own: `python -m tests.faults.programs.NAME ARGUMENTS PIPE`."""
