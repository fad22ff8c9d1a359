"""The registries that releases are published to."""

# Where the embedded one listens.
DEFAULT_ADDRESS = "127.0.0.1:5000"
