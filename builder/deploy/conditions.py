"""How stacks are: one row for each container, and what changed from one look to the next. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import asdict

from builder.core.errors import InputError
from builder.core.reference import Reference
from builder.core.release import Release
from builder.deploy.records import Deployment
from builder.deploy.rollout import runs_once
from builder.deploy.sight import Seen

UNREACHABLE = "unreachable"
NOT_DEPLOYED = "not deployed"


class Row(Struct, frozen=True, kw_only=True):
    """One container, or a service that has none, or a stack of which there is none to show.

    ``drift`` says how it differs from what the release has for it. ``since`` is the moment at which
    it started or ended, ``deployed`` the one at which the stack was brought up, both RFC 3339.
    ``why`` is what is known of a fault.
    """

    stack: str
    host: str
    service: str = ""
    container: str = ""
    condition: str
    well: bool = True
    image: str = ""
    digest: str = ""
    release: str = ""
    drift: str = ""
    since: str = ""
    restarts: int = 0
    deployed: str = ""
    by: str = ""
    why: str = ""

    @property
    def name(self) -> str:
        return f"{self.stack} {self.service}".rstrip()

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "image": self.image.partition("@")[0]}


def rows(
    stack: str, deployment: Deployment, seen: Iterable[Seen], against: Release | None = None
) -> list[Row]:
    """A row for each container of the stack, and for each service that has none.

    ``against`` is the release to compare with, if not the one that was deployed.
    """
    services: Mapping[str, Mapping[str, object]] = deployment.compose["services"]
    there: dict[str, list[Seen]] = {service: [] for service in services}
    for one in seen:
        there.setdefault(one.container.service, []).append(one)
    found: list[Row] = []
    for service, several in sorted(there.items()):
        if service not in services:
            found += [_row(stack, deployment, one, well=False, drift="extra") for one in several]
            continue
        if not several:
            found.append(
                Row(
                    stack=stack,
                    host=deployment.host,
                    service=service,
                    condition="missing",
                    well=False,
                    release=deployment.release,
                    drift="missing",
                    deployed=deployment.at,
                    by=deployment.by,
                )
            )
            continue
        wanted = _wanted(str(services[service]["image"]), against)
        once = runs_once(deployment.compose, service)
        for one in sorted(several, key=lambda each: each.container.name):
            drift = _drift(one.container.image, wanted, deployment.release, against)
            # An older image is no illness; one that nobody deployed is.
            well = one.container.well(once=once) and (not drift or against is not None)
            found.append(_row(stack, deployment, one, well=well, drift=drift, once=once))
    return found


def _row(
    stack: str,
    deployment: Deployment,
    seen: Seen,
    *,
    well: bool,
    drift: str,
    once: bool = False,
) -> Row:
    one = seen.container
    done = once and one.well(once=True)
    return Row(
        stack=stack,
        host=deployment.host,
        service=one.service,
        container=one.name,
        condition="done" if done else one.condition,
        well=well,
        image=one.image,
        digest=one.image.partition("@")[2],
        release=deployment.release,
        drift=drift,
        since=seen.since,
        restarts=seen.restarts,
        deployed=deployment.at,
        by=deployment.by,
    )


def _wanted(image: str, against: Release | None) -> str:
    """The image that a service should run: that of the deployment, or of another release."""
    if against is None:
        return image
    try:
        path = Reference.parse(image).path
    except InputError:
        return image
    of_release = next((one for one in against.images.values() if one.path == path), None)
    return image if of_release is None else f"{image.partition('@')[0]}@{of_release.digest}"


def _drift(runs: str, wanted: str, deployed: str, against: Release | None) -> str:
    if _digest(runs) == _digest(wanted):
        return ""
    return f"not that of {against.tag if against is not None else deployed}"


def _digest(image: str) -> str:
    """What tells two images apart: the digest, or, without one, the whole name."""
    return image.partition("@")[2] or image


def short(image: str) -> str:
    """An image as it fits into a column: its name and the first digits of its digest."""
    name, _, digest = image.rpartition("/")[2].partition("@")
    return f"{name.partition(':')[0]}@{digest[7:19]}" if digest else name


def changes(before: Sequence[Row], now: Sequence[Row]) -> Iterator[str]:
    """What a person who looked a moment ago has to be told, one line each."""
    old = _numbered(before)
    for place, row in _numbered(now).items():
        was = old.pop(place, None)
        if was is None:
            said = [row.condition, short(row.image), row.drift, row.why]
        else:
            said = [
                f"{what}{a or '-'} -> {b or '-'}"
                for what, a, b in (
                    ("", was.condition, row.condition),
                    ("image ", short(was.image), short(row.image)),
                    ("release ", was.release, row.release),
                    ("drift ", was.drift, row.drift),
                )
                if a != b
            ]
            if not said and row.since != was.since:
                said = [f"started again, {row.condition}"]
        if any(said):
            yield f"{row.name}: {', '.join(filter(None, said))}"
    for row in old.values():
        yield f"{row.name}: gone"


def _numbered(rows: Iterable[Row]) -> dict[tuple[str, str, int], Row]:
    """Each row under a name that a container which takes the place of another one keeps."""
    counted: Counter[tuple[str, str]] = Counter()
    found: dict[tuple[str, str, int], Row] = {}
    for row in rows:
        counted[row.stack, row.service] += 1
        found[row.stack, row.service, counted[row.stack, row.service]] = row
    return found
