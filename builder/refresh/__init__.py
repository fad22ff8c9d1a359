"""Finds out which published images are outdated, without an engine and without pulling an image."""
