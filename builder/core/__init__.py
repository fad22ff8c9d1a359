"""The core: values in, values out; what is decided is decided here."""
