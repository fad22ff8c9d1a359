"""The variables that one stage sees, and what is not known of them below an external image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from builder.core.dockerfile.model import Inherited
from builder.core.dockerfile.words import (
    Expansion,
    WordError,
    expand,
    expand_document,
    expand_plain,
    expand_words,
)
from builder.core.errors import DockerfileError, Location

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Args that steer BuildKit and never become variables.
_NO_VARIABLES = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")


class Value(NamedTuple):
    """An expanded text; as written where it is not ``known``."""

    text: str
    known: bool
    read: frozenset[str] = frozenset()


class _Variables:
    """Known values, and the names of variables that are set to something that is not known."""

    def __init__(self, known: Mapping[str, str], unknown: frozenset[str]) -> None:
        self.known = dict(known)
        self.unknown = set(unknown)

    def set(self, name: str, value: Value) -> None:
        if value.known:
            self.known[name] = value.text
            self.unknown.discard(name)
        else:
            self.known.pop(name, None)
            self.unknown.add(name)

    def update(self, other: _Variables) -> None:
        self.known.update(other.known)
        self.unknown -= other.known.keys()
        for name in other.unknown:
            self.set(name, Value("", known=False))

    def copy(self) -> _Variables:
        return _Variables(self.known, frozenset(self.unknown))


class Scope:
    """Grows with each instruction of a stage; ``env`` goes into the image, ARGs do not.

    ``own_labels`` are those that no base has handed on, and where they are set.
    """

    def __init__(self, base: Inherited, escape: str) -> None:
        self.labels = dict(base.labels)
        self.own_labels: dict[str, Location] = {}
        self.complete = base.complete
        self._escape = escape
        self._env = _Variables(base.env, base.unknown)
        if self.complete and "PATH" not in self._env.unknown:
            self._env.known.setdefault("PATH", DEFAULT_PATH)
        self._visible = self._env.copy()

    @property
    def env(self) -> Mapping[str, str]:
        return self._env.known

    @property
    def unknown(self) -> frozenset[str]:
        return frozenset(self._env.unknown)

    def child(self) -> Scope:
        """What a stage built on this one starts with: its ARGs too, but ENV before them."""
        inherited = Inherited(
            env=self.env, labels=self.labels, complete=self.complete, unknown=self.unknown
        )
        scope = Scope(inherited, self._escape)
        scope.own_labels = dict(self.own_labels)
        scope._visible = self._visible.copy()
        scope._visible.update(self._env)
        return scope

    def set_env(self, name: str, value: Value) -> None:
        self._env.set(name, value)
        self._visible.set(name, value)

    def set_arg(self, name: str, value: Value) -> None:
        """As BuildKit does it, an ARG hides an ENV of the same name from above it."""
        if name not in _NO_VARIABLES:
            self._visible.set(name, value)

    def expand(self, text: str) -> Value:
        """The text with variables replaced.

        Raises:
            DockerfileError: without a place; it is no word, or asks for a variable that is not set.

        """
        plain = expand_plain(text, self._escape)
        if plain is not None:
            return Value(plain, known=True)
        try:
            return self._value(text, expand(text, self._visible.known, self._escape))
        except WordError as error:
            return self._failed(text, error)

    def expand_document(self, text: str) -> Value:
        """As ``expand``, for the body of a here-document."""
        try:
            return self._value(text, expand_document(text, self._visible.known))
        except WordError as error:
            return self._failed(text, error)

    def check_words(self, text: str) -> None:
        """Raise what ``expand`` raises, for a text that is split after its expansion."""
        if expand_plain(text, self._escape) is not None:
            return
        try:
            expand_words(text, self._visible.known, self._escape)
        except WordError as error:
            self._failed(text, error)

    def _value(self, text: str, expansion: Expansion) -> Value:
        if self._knows(expansion):
            return Value(expansion.text, known=True, read=expansion.read)
        return Value(text, known=False, read=expansion.read)

    def _knows(self, expansion: Expansion) -> bool:
        if self.complete:
            return self._visible.unknown.isdisjoint(expansion.read)
        return not expansion.unset

    def _failed(self, text: str, error: WordError) -> Value:
        """Raises, unless the base image may set what the text lacks."""
        if error.depends and not (
            self.complete and self._visible.unknown.isdisjoint(error.depends)
        ):
            return Value(text, known=False)
        raise DockerfileError(error.message, hint=error.hint) from None
