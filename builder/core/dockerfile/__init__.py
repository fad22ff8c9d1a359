"""Reads Dockerfiles: text to instructions and stages, and what building a target needs."""
