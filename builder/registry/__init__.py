"""The registries that releases are published to."""
