"""Which image of the tree a name in a Dockerfile means, if any: the in-tree rule."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct, field

from builder.core.errors import Location, UnknownBaseError, did_you_mean
from builder.core.reference import BadReferenceError, Reference


class InTreeNames(Struct, frozen=True, kw_only=True):
    """Under which names Dockerfiles may speak of our images.

    ``registry`` is the host that the release is published to, ``aliases`` are other namespaces,
    ``redirects`` (the [contexts] of build.toml) are names that were pointed elsewhere by hand.
    """

    namespace: str
    registry: str = ""
    aliases: frozenset[str] = frozenset()
    redirects: Mapping[str, str] = field(default_factory=dict)

    def image_for(
        self, text: str, *, asked_by: str, images: Collection[str], where: Location
    ) -> str | None:
        """The in-tree image that ``text`` means, or None for an external one.

        The tag never decides. A name in our namespace that no image has is a mistake, because the
        registry would answer it with something that this tree no longer makes.

        Raises:
            UnknownBaseError: a name in our own namespace that is no image, or no reference at all.

        """
        if text in self.redirects:
            return None
        try:
            reference = Reference.parse(text)
        except BadReferenceError as error:
            raise UnknownBaseError(error.message, where=where, hint=error.hint) from error
        if not reference.namespace and not reference.registry:
            is_bare = not reference.tag and not reference.digest
            return text if is_bare and text in images and text != asked_by else None
        if not self._is_ours(reference):
            return None
        if reference.name in images:
            return reference.name
        raise UnknownBaseError(
            f'"{text}" is in our own namespace, but the tree has no image "{reference.name}"',
            where=where,
            hint=did_you_mean(reference.name, images)
            or "add a directory for it, or redirect the name under [contexts] in build.toml",
        )

    def _is_ours(self, reference: Reference) -> bool:
        if reference.namespace in self.aliases:
            return True
        return reference.namespace == self.namespace and reference.registry in ("", self.registry)
