"""Debian packages as values: their versions, what an image has of them, what archives offer."""
