"""Patterns of paths as Go and moby match them: globs and ignore files."""
