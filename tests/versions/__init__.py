"""The versions that predlog runs with: one environment per row of a table, and the tests that fit it."""
