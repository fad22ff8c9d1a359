"""How stacks are: one row for each container, and what changed from one look to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import asdict

from builder.core.deploy.records import Deployment
from builder.core.deploy.stack import InspectedContainer, lost_networks, replicas
from builder.core.errors import DeployError, InputError
from builder.core.reference import Reference
from builder.core.release import Release
from builder.core.text import counted, duration, moment

UNREACHABLE = "unreachable"
NOT_DEPLOYED = "not deployed"
COLUMNS = ("stack", "service", "condition", "image", "release", "drift", "since")
# While a host does not answer it is asked ever more rarely; seconds.
_LONGEST_WAIT = 30.0
_STYLES = {"starting": "yellow", "created": "yellow", UNREACHABLE: "red", NOT_DEPLOYED: "dim"}

# The containers of a host by compose project, or why it does not answer.
Answer = Mapping[str, Sequence[InspectedContainer]] | str


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
    stack: str,
    deployment: Deployment,
    inspected: Sequence[InspectedContainer],
    against: Release | None = None,
) -> list[Row]:
    """A row for each container of the stack, and for each service that has none.

    ``against`` is the release to compare with, if not the one that was deployed.
    """
    services: Mapping[str, Mapping[str, object]] = deployment.compose["services"]
    by_service: dict[str, list[InspectedContainer]] = {service: [] for service in services}
    for one in inspected:
        by_service.setdefault(one.container.service, []).append(one)
    lost = lost_networks(deployment.compose, inspected)
    shown: list[Row] = []
    for service, several in sorted(by_service.items()):
        if service not in services:
            shown += [_row(stack, deployment, one, well=False, drift="extra") for one in several]
            continue
        if not several and not replicas(deployment.compose, service):
            continue
        if not several:
            shown.append(
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
        wanted = _wanted(str(services[service].get("image", "")), against)
        for one in sorted(several, key=lambda each: each.container.name):
            drift = _drift(one.container.image, wanted, deployment.release, against)
            # An older image is no illness; one that nobody deployed is.
            well = one.container.is_well(deployment.compose) and (not drift or against is not None)
            if owner := lost.get(one.container.name):
                well, drift = False, f"has lost the network of {owner}"
            shown.append(_row(stack, deployment, one, well=well, drift=drift))
    return shown


def _row(
    stack: str,
    deployment: Deployment,
    inspected: InspectedContainer,
    *,
    well: bool,
    drift: str,
) -> Row:
    container = inspected.container
    done = well and container.has_ended_well
    return Row(
        stack=stack,
        host=deployment.host,
        service=container.service,
        container=container.name,
        condition="done" if done else container.condition,
        well=well,
        image=container.image,
        digest=container.image.partition("@")[2],
        release=deployment.release,
        drift=drift,
        since=inspected.since,
        restarts=inspected.restarts,
        deployed=deployment.at,
        by=deployment.by,
    )


def _wanted(image: str, against: Release | None) -> str:
    """Return the image that a service should run: that of the deployment, or of a release."""
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
    """The differences between two looks for a person to read, one line each."""
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
    count: Counter[tuple[str, str]] = Counter()
    numbered: dict[tuple[str, str, int], Row] = {}
    for row in rows:
        count[row.stack, row.service] += 1
        numbered[row.stack, row.service, count[row.stack, row.service]] = row
    return numbered


# --- one look ------------------------------------------------------------------------------------


def stack_rows(
    name: str,
    host: str,
    deployment: Deployment | None,
    answer: Answer,
    against: Release | None = None,
) -> list[Row]:
    """The rows of a stack, whether it was deployed or not, and its host answers or not."""
    if deployment is None:
        return [Row(stack=name, host=host, condition=NOT_DEPLOYED)]
    if isinstance(answer, str):
        return [
            Row(
                stack=name,
                host=host,
                condition=UNREACHABLE,
                well=False,
                release=deployment.release,
                why=answer.splitlines()[-1] if answer else "",
                deployed=deployment.at,
                by=deployment.by,
            )
        ]
    return rows(name, deployment, answer.get(deployment.project, ()), against)


def exit_code(rows: Iterable[Row]) -> int:
    """The exit code of the command: whether all is well."""
    return 0 if all(row.well for row in rows) else DeployError.exit_code


def next_wait(rows: Iterable[Row], interval: float, wait: float) -> float:
    """How many seconds to wait until the next look; ``wait`` is how long it was until this one."""
    if any(row.condition == UNREACHABLE for row in rows):
        return min(max(_LONGEST_WAIT, interval), wait * 2)
    return interval


# --- words ---------------------------------------------------------------------------------------


def cells(row: Row, now: float) -> tuple[str, ...]:
    """The row as the cells of ``COLUMNS``; ``now`` is in seconds since the epoch."""
    condition = row.condition
    if row.restarts:
        condition += f", restarted {row.restarts}x"
    since = moment(row.since)
    age = "" if since is None else duration(now - since.timestamp())
    drift = row.drift or row.why
    return (row.stack, row.service, condition, short(row.image), row.release, drift, age)


def style(row: Row) -> str:
    """The colour in which a row is drawn."""
    if row.condition in _STYLES:
        return _STYLES[row.condition]
    if not row.well:
        return "red"
    return "yellow" if row.drift else ""


def verdict(rows: Sequence[Row]) -> str:
    """How all of it is, in a few words."""
    if all(row.condition == NOT_DEPLOYED for row in rows):
        return "nothing is deployed"
    bad = sum(not row.well for row in rows)
    return f"{counted(bad, 'row')} not well" if bad else "all is well"
