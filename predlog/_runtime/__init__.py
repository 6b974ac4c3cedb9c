"""The process around predlog: its rank, forks, exit and stderr, and the state of torch."""
