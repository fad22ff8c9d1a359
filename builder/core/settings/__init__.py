"""What build.toml can say: its sections as values, and how each is read; without any I/O."""
