"""The recorder: what runs in the training thread, the worker behind it, and the accounts of both."""
