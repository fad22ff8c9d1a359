"""External bases as values: what a name stands for, what it must be, and what to say where not.

The order for ``debian:trixie-slim``: what [contexts] says instead; the mirror of [bases]; what the
engine has; a pull; a bootstrap. A bootstrapped base never takes the Hub's name in the engine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from builder.core.errors import BuildError, InputError, OcbuildError
from builder.core.reference import HUB, BadReferenceError, Reference
from builder.core.release import ReleasedImage

IMAGE_SCHEME = "docker-image://"
FOLDER = "folder:"
BOOTSTRAP_NAMESPACE = "ocbuild-bootstrap"


class ResolvedBase(Struct, frozen=True, kw_only=True):
    """What a name stands for in this run.

    ``context`` is what the engine is told to take for the name; ``reference`` the image behind it,
    "" where it is no image. ``digest`` identifies the content: a manifest digest where a registry
    knows the image, else the engine's image id, else a hash of a folder or of the address.
    """

    text: str
    context: str
    reference: str
    digest: str

    @property
    def is_folder(self) -> bool:
        return self.digest.startswith(FOLDER)

    @property
    def digest_only(self) -> bool:
        """Whether only its digest is known: enough for keys, but nothing can be built on it."""
        return not self.context


class Pin(Struct, frozen=True, kw_only=True):
    """What a base has to be: the digest of a manifest, or, if ``local``, the id of an image."""

    digest: str
    local: bool = False

    @property
    def kind(self) -> str:
        return "engine" if self.local else "registry"


Resolution = Mapping[str, "ResolvedBase | OcbuildError"]
"""By name of a base what it stands for, or why it cannot be had."""


def as_image(text: str, reference: str, digest: str) -> ResolvedBase:
    """The base ``text`` as an image of the engine."""
    return ResolvedBase(
        text=text, context=IMAGE_SCHEME + reference, reference=reference, digest=digest
    )


def as_local_image(
    text: str, reference: str, image_id: str, repo_digests: Iterable[str]
) -> ResolvedBase:
    """By digest where the engine knows one, so that nobody can move the tag during the run."""
    repository = Reference.parse(reference).repository
    for pinned in repo_digests:
        if Reference.parse(pinned).repository == repository:
            return as_image(text, pinned, pinned.partition("@")[2])
    return as_image(text, reference, image_id)


def as_promise(text: str, digest: str) -> ResolvedBase:
    """The base by its digest alone."""
    return ResolvedBase(text=text, context="", reference="", digest=digest)


def as_address(text: str, address: str) -> ResolvedBase:
    """What [contexts] fetches from an address, known by the address."""
    digest = "address:" + hashlib.sha256(address.encode()).hexdigest()
    return ResolvedBase(text=text, context=address, reference="", digest=digest)


def reference_behind(text: str, redirect: str | None, mirror: str) -> str:
    """The reference to look for: what [contexts] says, else the mirror of [bases], else itself."""
    return mirror or text if redirect is None else redirect.removeprefix(IMAGE_SCHEME)


def bootstrap_reference(base: Reference) -> Reference:
    """The name under which the engine keeps the substitute; it never shadows the original's.

    Raises:
        InputError: for a base that is pinned by digest; no substitute has that digest.

    """
    if base.digest:
        raise InputError(
            f'"{base}" is pinned by digest and cannot be put together from packages',
            hint="name the base by tag, or take it from a mirror",
        )
    full = Reference.parse(base.canonical)
    if full.registry == HUB:
        path = full.path.removeprefix("library/")
    else:
        path = f"{re.sub('[^a-z0-9.]+', '-', full.registry.lower()).strip('-')}/{full.path}"
    return Reference(path=f"{BOOTSTRAP_NAMESPACE}/{path.replace('/', '-')}", tag=full.tag)


def not_in_engine(text: str) -> BuildError:
    return BuildError(
        f"{text} is not in the engine yet", hint="a build pulls it, or makes it with mmdebstrap"
    )


def locked_to_another(text: str, pin: Pin) -> BuildError:
    return BuildError(
        f"the base {text} is locked to the image {pin.digest}, which this engine does not have",
        hint="no registry knows that image, so each machine makes its own: remove the line"
        " from build.lock, or give the base a `mirror` and lock that",
    )


def unobtainable(text: str, reference: str, error: OcbuildError) -> BuildError:
    asked = text if reference == text else f"{text} (from {reference})"
    return BuildError(
        f"the base {asked} cannot be pulled: {error.message}",
        hint=f'give [bases."{text}"] a `mirror` or, for Debian, a `bootstrap` in build.toml;'
        " docs/build-toml.md shows both",
        transient=error.transient,
    )


def released_pins(images: Iterable[ReleasedImage], redirects: Mapping[str, str]) -> dict[str, Pin]:
    """The external bases of a release: a refresh moves them, and nothing else does.

    ``redirects`` are those of [contexts] now: a name that they point elsewhere, or that they did
    then, stands for something else.
    """
    return {
        text: Pin(digest=digest)
        for image in images
        for text, digest in image.inputs.bases.items()
        if image.inputs.redirects.get(text, "") == redirects.get(text, "")
    }


def digests(texts: Iterable[str], resolution: Resolution) -> dict[str, str] | None:
    """The digest of each of these bases; None where one of them cannot be had, or not yet."""
    known: dict[str, str] = {}
    for text in texts:
        base = resolution.get(text)
        if not isinstance(base, ResolvedBase):
            return None
        known[text] = base.digest
    return known


def unreadable(texts: Iterable[str], resolution: Resolution) -> str:
    """Why no registry can be read for one of these bases; "" where it can, for all."""
    for text in texts:
        base = resolution.get(text)
        if not isinstance(base, ResolvedBase):
            return f"{text} has still to be fetched"
        if base.digest_only:
            continue  # by a digest that a registry has named
        if not base.reference:
            return f"{text} is redirected to what is no image"
        if "@" not in base.reference:
            return f"{text} is only in the engine, as far as is known"
    return ""


# -- named contexts ----------------------------------------------------------------------------


def familiar(name: str) -> str:
    """A name as BuildKit looks it up among the named contexts.

    ``docker.io/library/debian:latest`` and ``debian`` are one; what is no image reference (the
    name of a stage) stays as it is.
    """
    try:
        reference = Reference.parse(Reference.parse(name).canonical)
    except BadReferenceError:
        return name
    text = str(reference)
    if reference.registry == HUB:
        text = text.removeprefix(f"{HUB}/").removeprefix("library/")
    return text if reference.digest else text.removesuffix(":latest")


def clashing(stages: Iterable[str], contexts: Mapping[str, str]) -> dict[str, str]:
    """The names that BuildKit would not take for what ``contexts`` says, each with one of its own.

    A context of a stage's name replaces that stage and drops its instructions; and two spellings of
    one name have one context, whatever each of them means.
    """
    taken = {familiar(stage) for stage in stages if stage}
    meanings: dict[str, set[str]] = {}
    for text, value in contexts.items():
        meanings.setdefault(familiar(text), set()).add(value)
    return {
        text: f"ocbuild.invalid/{hashlib.sha256(value.encode()).hexdigest()[:12]}"
        for text, value in contexts.items()
        if familiar(text) in taken or len(meanings[familiar(text)]) > 1
    }


def context_value(value: str) -> str:
    """The value as buildx wants it: an image reference gets its scheme; all else has one."""
    if "://" in value or value.startswith(("/", "./", "../", "target:")):
        return value
    return IMAGE_SCHEME + value


def image_of(value: str) -> str | None:
    """The image reference that a name is redirected to; None where it is a folder or an address."""
    value = context_value(value)
    return value.removeprefix(IMAGE_SCHEME) if value.startswith(IMAGE_SCHEME) else None
