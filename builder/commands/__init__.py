"""The commands: options in, stages called, text out."""
