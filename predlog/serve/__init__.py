"""The pages of a folder's runs, served to browsers while the runs go on: read-only, and to those who have the token."""
