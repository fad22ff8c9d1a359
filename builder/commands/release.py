"""The commands ``release ls``, ``show``, ``diff``, ``verify`` and ``promote``."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from msgspec.structs import replace

from builder.core.errors import PublishError, UsageError
from builder.core.options import (
    DiffOptions,
    ListOptions,
    PromoteOptions,
    ReleaseOptions,
    TreeOptions,
)
from builder.core.reference import BadReferenceError, Reference
from builder.core.release import difference
from builder.core.release_text import (
    difference_json,
    difference_lines,
    listing_json,
    listing_lines,
    release_json,
    release_lines,
)
from builder.core.settings.config import DEFAULT_ADDRESS, LOCAL
from builder.core.text import counted, size
from builder.publish.home import Home, choose, nothing_yet, open_home, shelve
from builder.publish.promote import Promoted, carry, forecast, load
from builder.publish.verify import Verdict, verify_release
from builder.report.streams import print_json, print_lines, tell


def ls(tree: TreeOptions, options: ListOptions, environ: Mapping[str, str]) -> int:
    with open_home(tree, environ) as home:
        stored, broken = shelve(home)
        for error in broken:
            sys.stderr.write(f"note: {error.message}\n")
        if options.as_json:
            print_json(listing_json(stored))
        elif stored:
            print_lines(listing_lines(stored))
        else:
            nothing = nothing_yet(home)
            sys.stderr.write(f"{nothing}\n")
    return 0


def show(tree: TreeOptions, options: ReleaseOptions, environ: Mapping[str, str]) -> int:
    with open_home(tree, environ) as home:
        release = choose(home, options.tag)
        if options.as_json:
            print_json(release_json(release))
        else:
            print_lines(release_lines(release, home.address))
    return 0


def diff(tree: TreeOptions, options: DiffOptions, environ: Mapping[str, str]) -> int:
    with open_home(tree, environ) as home:
        old, new = (choose(home, tag) for tag in (options.old, options.new))
        changes = difference(old, new)
        if options.as_json:
            print_json(difference_json(changes))
        else:
            print_lines(difference_lines(changes))
    return 0


def verify(tree: TreeOptions, options: ReleaseOptions, environ: Mapping[str, str]) -> int:
    """Show every defect in a line; 4 if there is one."""
    with open_home(tree, environ) as home:
        verdict = verify_release(home, choose(home, options.tag), deep=options.deep)
        if options.as_json:
            print_json(_verdict_json(verdict))
        else:
            print_lines(_verdict_lines(verdict, deep=options.deep))
    return PublishError.exit_code if verdict.defects else 0


def promote(tree: TreeOptions, options: PromoteOptions, environ: Mapping[str, str]) -> int:
    host, namespace = _target(options.target)
    with open_home(tree, environ) as source:
        target = replace(source, host=host, namespace=namespace)
        if target.address == source.address:
            raise UsageError(f"{options.tag} is in {source.address} already: that is its source")
        release = choose(source, options.tag)
        # Whether the other registry lets us in is known before anything is read here.
        target.registry.check(target.host)
        cargo = load(source, target, release)
        if options.dry_run:
            copied, mounted = forecast(source, target, cargo)
            _show_forecast(options, release.tag, target, (cargo.images, copied, mounted))
            return 0
        sys.stderr.write(
            f"{release.tag} to {target.address}: {counted(cargo.images, 'image')},"
            f" {cargo.present} of them there; {counted(len(cargo.transfers), 'blob')} to move\n"
        )
        done = carry(source, target, release, cargo, tell)
        if options.as_json:
            print_json(_promoted_json(done, target.address))
        else:
            print_lines(_promoted_lines(done, target.address))
    return 0


def _show_forecast(
    options: PromoteOptions, tag: str, target: Home, amounts: tuple[int, int, int]
) -> None:
    images, copied, mounted = amounts
    if options.as_json:
        document = {
            "release": tag,
            "to": target.address,
            "dry_run": True,
            "images": images,
            "copied_bytes": copied,
            "mounted_bytes": mounted,
        }
        print_json(document)
    else:
        line = (
            f"{tag} would go to {target.address}: {counted(images, 'image')},"
            f" {size(copied)} to copy, {size(mounted)} to mount; nothing forbids it"
        )
        print_lines([line])


def _target(text: str) -> tuple[str, str]:
    """Registry and namespace of --to."""
    hint = "for example: --to registry.example.com:5000/opencontrail"
    host, _, namespace = text.partition("/")
    if host == LOCAL:
        host = DEFAULT_ADDRESS
    try:
        parsed = Reference.parse(f"{host}/{namespace}/image")
    except BadReferenceError as error:
        raise UsageError(f'--to "{text}": {error.message}', hint=hint) from error
    if parsed.registry != host or not namespace or parsed.tag or parsed.digest:
        raise UsageError(f'--to "{text}" is not REGISTRY/NAMESPACE', hint=hint)
    return host, namespace


def _verdict_lines(verdict: Verdict, *, deep: bool) -> list[str]:
    lines = [str(defect) for defect in verdict.defects]
    lines += [f"note: {note}" for note in verdict.notes]
    how = "read" if deep else "looked for"
    state = counted(len(verdict.defects), "defect") if verdict.defects else "all is there"
    lines.append(
        f"{verdict.release.tag}: {state}; {counted(len(verdict.release.images), 'image')} and"
        f" {counted(verdict.blobs, 'blob')} ({size(verdict.size)}) {how}"
    )
    return lines


def _verdict_json(verdict: Verdict) -> dict[str, object]:
    return {
        "release": verdict.release.tag,
        "images": len(verdict.release.images),
        "blobs": verdict.blobs,
        "bytes": verdict.size,
        "defects": [{"image": defect.image, "what": defect.text} for defect in verdict.defects],
        "notes": [{"image": defect.image, "what": defect.text} for defect in verdict.notes],
    }


def _promoted_lines(done: Promoted, where: str) -> list[str]:
    present = f" ({done.present} were there)" if done.present else ""
    moving = ", and it is the latest there" if done.moved_latest else ""
    amounts = (
        f"{size(done.copied)} copied, {size(done.mounted)} mounted,"
        f" {size(done.existed)} found there"
    )
    return [
        f"{done.release.tag} is in {where}{moving}",
        f"{counted(done.images, 'image')}{present}: {amounts}",
    ]


def _promoted_json(done: Promoted, where: str) -> dict[str, object]:
    return {
        "release": done.release.tag,
        "to": where,
        "reference": str(done.reference),
        "latest": done.moved_latest,
        "images": done.images,
        "present": done.present,
        "copied_bytes": done.copied,
        "mounted_bytes": done.mounted,
        "existing_bytes": done.existed,
        "digests": {name: image.digest for name, image in sorted(done.release.images.items())},
    }
