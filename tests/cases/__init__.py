"""The bench of cases: real model code, trained right and trained with one known mistake each."""
