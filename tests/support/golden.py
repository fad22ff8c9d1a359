"""Golden files: what users and their scripts are shown, byte for byte, in ``tests/golden``.

``OCBUILD_GOLDEN=write pytest tests/unit/test_golden.py`` writes those anew that have changed; each
of these tests fails all the same, so that somebody looks at the difference.

Below ``check`` are the ways from the inside of the house to such a text: only this module has to
follow when the inside changes.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from msgspec import Struct

from builder.__main__ import main
from builder.config.load import load
from builder.core.bases import Pin
from builder.core.deploy.records import Deployment, SharedRecord
from builder.core.events import Event, Outcome, Phase, RunFinished, StepFinished, StepId, Summary
from builder.core.graph import ImageGraph
from builder.core.image import InTreeNames
from builder.core.packages.inventory import Inventory
from builder.core.plan import Action, AvailableImage, Decision, ImageFacts, Plan, RunFacts, decide
from builder.core.published import Published
from builder.core.reference import Reference
from builder.core.release import Release
from builder.core.run_text import plan_listing
from builder.core.select import select
from builder.core.settings.config import as_text
from builder.core.summary import summarise
from builder.core.tasks import connect
from builder.deploy.project import LocalRecords
from builder.publish.inventories import Inventories, Record, tag_for
from builder.publish.write import Deployments, Releases
from builder.report.files import open_logs, write_report
from builder.report.streams import open_progress
from builder.system.files import record_durations
from builder.tree.discover import discover
from tests.support.client import make_client
from tests.support.clock import FakeClock
from tests.support.decisions import decision
from tests.support.images import make_image
from tests.support.memory_registry import MemoryRegistry
from tests.support.tree import Tree

FOLDER = Path(__file__).parent.parent / "golden"
# Read before anything takes it out of the environment of tests.
_WRITE = os.environ.get("OCBUILD_GOLDEN") == "write"
# What stands for the address of a registry of this process; as long as those are.
ADDRESS = "127.0.0.1:55555"
NAMESPACE = "acme"


def check(name: str, text: str | bytes) -> None:
    """Hold a text to its golden file.

    Raises:
        Failed: it is another one, or new; with OCBUILD_GOLDEN=write it has been written.

    """
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    path = FOLDER / name
    known = path.read_bytes() if path.exists() else b""
    if path.exists() and data == known:
        return
    if _WRITE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        pytest.fail(f"{path} was written anew: look at the difference, and run again without")
    difference = difflib.unified_diff(
        _lines(known), _lines(data), "in its file", "now", lineterm="", n=1
    )
    pytest.fail("\n".join([f"{path} says something else:", *difference]), pytrace=False)


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "backslashreplace").split("\n")


# --- commands -----------------------------------------------------------------------------------


def run(*words: str) -> str:
    """What a command writes to stdout; it has to end well, and to say nothing else."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as ended:  # argparse's --help
            code = int(ended.code or 0)
    assert (code, err.getvalue()) == (0, "")
    return out.getvalue()


_SHORT_AND_LONG = re.compile(r"(-\w) [A-Z]+, (?=--)")


def help_of(*words: str) -> str:
    """The help of a command without what differs from one Python to the next: the folding."""
    paragraphs = run(*words, "--help").rstrip().split("\n\n")
    return "\n\n".join(unfolded(paragraph) for paragraph in paragraphs) + "\n"


def unfolded(paragraph: str) -> str:
    """A paragraph of argparse with each entry on a line of its own, however wide the screen is."""
    head, *lines = paragraph.split("\n")
    if head.startswith("usage:"):
        return " ".join(paragraph.split())
    if head not in ("positional arguments:", "options:"):
        return paragraph
    entries: list[str] = []
    for line in lines:
        # An entry stands below its heading, and what explains it further to the right.
        if entries and line.startswith("     "):
            joint = " " if "  " in entries[-1].strip() else "  "
            entries[-1] += joint + line.strip()
        else:
            text = re.sub(r" {2,}", "  ", _SHORT_AND_LONG.sub(r"\1, ", line.strip()))
            entries.append(f"  {text}")
    return "\n".join([head, *entries])


# --- plans --------------------------------------------------------------------------------------


class Facts(Struct, frozen=True, kw_only=True):
    """What is known of one image before a plan is made.

    ``place`` is who has its key; ``published`` the digest that the registry has of it, ``tagged``
    even under its release tag, ``of`` the release that it was found in; ``changes`` are why it is
    made otherwise, and ``obstacle`` why the assembler cannot make it.
    """

    dockerfile: str
    key: str = ""
    place: str = ""
    published: str = ""
    tagged: bool = False
    of: str = ""
    changes: tuple[str, ...] = ()
    obstacle: str = ""
    optional: bool = False


def plan(
    folder: Path,
    facts: Mapping[str, Facts],
    *targets: str,
    commit: str = "c0ffee" + "0" * 34,
    dirty: bool = False,
    no_reuse: bool = False,
    remarks: Mapping[str, str] | None = None,
    assembler: bool = True,
    push: bool = True,
) -> Plan:
    """The plan that is made of these facts."""
    tree = Tree(folder, {name: image.dockerfile for name, image in facts.items()})
    names = InTreeNames(namespace=NAMESPACE, registry="reg")
    graph = ImageGraph.of(discover(load(tree.root / "build.toml", [])), names)
    known = {
        name: ImageFacts(
            key=image.key,
            tag="1.0-c0ffee",
            moving=("1.0",),
            optional=image.optional,
            available=AvailableImage(reference=f"{name}:1", place=image.place)
            if image.place
            else None,
            published=Published(digest=image.published, tagged=image.tagged, of=image.of)
            if image.published
            else None,
            changes=image.changes,
        )
        for name, image in facts.items()
    }
    return decide(
        RunFacts(
            graph=graph,
            selection=select(graph, targets or ("all",), groups=()),
            images=known,
            commit=commit,
            dirty=dirty,
            no_reuse=no_reuse,
            push=push,
            obstacles={name: image.obstacle for name, image in facts.items()}
            if assembler
            else None,
            remarks=remarks or {},
        )
    )


def blocked_plan() -> Plan:
    """One that has a step of which it is clear from the start that it cannot be made."""
    blocked = decision(
        "app",
        action=Action.BLOCKED,
        reasons=("another cannot be made",),
        repository="reg/acme/app",
    )
    return Plan(commit="", dirty=True, steps=(blocked,))


def plan_text(plan: Plan) -> str:
    return plan_listing(plan)


# --- runs ---------------------------------------------------------------------------------------


def summary(
    steps: Iterable[Decision],
    outcomes: Mapping[tuple[str, Phase], Outcome],
    phases: Mapping[str, Iterable[Phase]],
    *,
    interrupted: bool = False,
    release: str | None = None,
    remarks: tuple[str, ...] = (),
) -> Summary:
    """The summary of a run whose steps took three seconds each."""
    made = Plan(commit="c0ffee", dirty=False, steps=tuple(steps), remarks=remarks)
    ends = [
        StepFinished(step=StepId(phase, name), outcome=outcome, seconds=3.25, at=1_700_000_001.0)
        for (name, phase), outcome in outcomes.items()
    ]
    return summarise(
        made,
        {end.step: end for end in ends},
        run_id="20231114-221320-beef",
        steps=connect(made, {name: list(some) for name, some in phases.items()}, {}),
        jobs=2,
        started=1_700_000_000.0,
        seconds=12.3456,
        interrupted=interrupted,
        log_of=lambda name: f"logs/{name}.log",
        release=release,
    )


def text_of(summary: Summary) -> str:
    return shown("plain", [RunFinished(summary=summary, at=1_700_000_012.0)]).removeprefix("\n")


def report_of(summary: Summary, folder: Path) -> bytes:
    """The file that --report writes."""
    write_report(folder / "report.json", summary)
    return (folder / "report.json").read_bytes()


def durations_of(summary: Summary, folder: Path) -> bytes:
    record_durations(folder / "durations.json", summary)
    return (folder / "durations.json").read_bytes()


def shown(mode: str, events: Iterable[Event]) -> str:
    """What ``--progress`` of this mode writes of a run."""
    stream = io.StringIO()
    with open_progress(mode, stream, environ={}, clock=FakeClock(), expected={}) as report:
        for event in events:
            report(event)
    return stream.getvalue()


def logs(events: Iterable[Event], folder: Path) -> str:
    """The log files of a run, one after the other."""
    with open_logs(folder / "logs") as report:
        for event in events:
            report(event)
    files = sorted((folder / "logs").iterdir())
    return "".join(f"--- {file.name}\n{file.read_text(encoding='utf-8')}" for file in files)


# --- what is stored -----------------------------------------------------------------------------


def lock_text(registry: Mapping[str, str], engine: Mapping[str, str]) -> str:
    """build.lock with bases that registries have, and such as only an engine has."""
    pins = {text: Pin(digest=digest) for text, digest in registry.items()}
    return as_text(pins | {text: Pin(digest=id_, local=True) for text, id_ in engine.items()})


def stored_release(release: Release) -> bytes:
    """The artifact of a release as it lies in the registry: manifest, then content."""
    with MemoryRegistry() as registry, make_client() as client:
        Releases(client, host=registry.address, namespace=NAMESPACE).write(release, ("latest",))
        assert registry.tags[f"{NAMESPACE}/release", "latest"]
        return b"\n".join(registry.content(f"{NAMESPACE}/release", release.tag))


def release_command(release: Release, *words: str) -> str:
    """What a command says of a registry with this release."""
    with MemoryRegistry() as registry, make_client() as client:
        Releases(client, host=registry.address, namespace=NAMESPACE).write(release, ("latest",))
        said = run(*words, "--registry", registry.address, "--namespace", NAMESPACE)
        return said.replace(registry.address, ADDRESS)


def stored_deployment(entry: SharedRecord) -> bytes:
    """The record of a deployment as it lies in the registry: its tag, manifest, content."""
    path = f"{NAMESPACE}/release"
    with MemoryRegistry() as registry, make_client() as client:
        Deployments(client, Reference(path=path, registry=registry.address)).write(entry)
        ((_, tag),) = registry.tags
        return b"\n".join([tag.encode(), *registry.content(path, tag)])


def deployment_files(deployments: Iterable[Deployment], folder: Path) -> bytes:
    """What this machine keeps of deployments of a stack that were made one after the other."""
    records = LocalRecords(folder / "deployments")
    for deployment in deployments:
        records.deployed("cloud", deployment)
    files = sorted((folder / "deployments").rglob("*.json"))
    return b"".join(f"--- {file.name}\n".encode() + file.read_bytes() for file in files)


def stored_inventory(
    inventory: Inventory, *, base: str = "", held: Mapping[str, str] | None = None
) -> bytes:
    """The inventory of an image as it lies in the registry: manifest, then content."""
    image = make_image()
    digest, size = image.manifest.digest, len(image.manifest.body)
    with MemoryRegistry() as registry, make_client() as client:
        place = Reference(path=f"{NAMESPACE}/app", registry=registry.address)
        image.put(client, place.with_tag("1"))
        record = Record(inventory=inventory, base=base, held=held or {})
        Inventories(client).write(place.at(digest), record)
        manifest, content = registry.content(place.path, tag_for(digest))
    # The image that it is about is another one each time.
    subject = b'"digest": "sha256:of-the-image",\n    "size": 0'
    own = f'"digest": "{digest}",\n    "size": {size}'.encode()
    assert manifest.count(own) == 1
    return manifest.replace(own, subject) + b"\n" + content
