"""A tree as it lies there: folders, Dockerfiles, build contexts, and what git knows of them."""
