"""The recorder: what runs in the training thread, the worker thread, and the counts of both."""
