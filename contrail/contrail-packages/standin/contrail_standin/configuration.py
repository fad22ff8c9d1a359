"""The configuration files of OpenContrail: sections and keys, or the lines of a .properties file."""

import configparser


class Configuration:
    """What several files say; a later one wins. Keys are written "SECTION.key"."""

    def __init__(self, paths):
        self._values = {}
        for path in paths:
            with open(path, encoding="utf-8") as file:
                text = file.read()
            self._values.update(_properties(text) if path.endswith(".properties") else _ini(text))

    def get(self, key):
        """The value, None where it is missing or empty."""
        return self._values.get(key.lower()) or None


def _ini(text):
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(text)
    return {
        f"{section}.{key}".lower(): value
        for section in parser.sections()
        for key, value in parser.items(section)
    }


def _properties(text):
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#!")
    return {key.strip().lower(): value.strip() for key, _, value in pairs}
