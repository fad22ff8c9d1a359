"""build.toml and build.lock: text to a checked Config, every mistake with its line."""
