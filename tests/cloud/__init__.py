"""The whole cloud, from a published release, as its users see it."""
