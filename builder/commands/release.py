"""The commands ``release ls``, ``show``, ``diff``, ``verify`` and ``promote``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from builder.commands import release_texts as texts
from builder.core.difference import difference
from builder.core.errors import PublishError, UsageError
from builder.core.options import (
    DiffOptions,
    ListOptions,
    PromoteOptions,
    ReleaseOptions,
    TreeOptions,
)
from builder.core.reference import BadReferenceError, Reference
from builder.core.settings.config import DEFAULT_ADDRESS, LOCAL
from builder.core.text import counted, size
from builder.publish.home import Home, choose, nothing_yet, open_home, shelve
from builder.publish.promote import carry, forecast, load
from builder.publish.verify import verify_release


def ls(tree: TreeOptions, options: ListOptions, environ: Mapping[str, str]) -> int:
    with open_home(tree, environ) as home:
        shelf, broken = shelve(home)
        for error in broken:
            sys.stderr.write(f"note: {error.message}\n")
        if options.as_json:
            sys.stdout.write(texts.as_json(texts.listing_json(shelf)))
        elif shelf:
            _show(texts.listing(shelf))
        else:
            nothing = nothing_yet(home)
            sys.stderr.write(f"{nothing}\n")
    return 0


def show(tree: TreeOptions, options: ReleaseOptions, environ: Mapping[str, str]) -> int:
    with open_home(tree, environ) as home:
        release = choose(home, options.tag)
        if options.as_json:
            sys.stdout.write(texts.as_json(texts.content_json(release)))
        else:
            _show(texts.content(release, home.address))
    return 0


def diff(tree: TreeOptions, options: DiffOptions, environ: Mapping[str, str]) -> int:
    with open_home(tree, environ) as home:
        old, new = (choose(home, tag) for tag in (options.old, options.new))
        found = difference(old, new)
        if options.as_json:
            sys.stdout.write(texts.as_json(texts.changes_json(found)))
        else:
            _show(texts.changes(found))
    return 0


def verify(tree: TreeOptions, options: ReleaseOptions, environ: Mapping[str, str]) -> int:
    """Show every defect in a line; 4 if there is one."""
    with open_home(tree, environ) as home:
        found = verify_release(home, choose(home, options.tag), deep=options.deep)
        if options.as_json:
            sys.stdout.write(texts.as_json(texts.verdict_json(found)))
        else:
            _show(texts.verdict(found, deep=options.deep))
    return PublishError.exit_code if found.defects else 0


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
        done = carry(source, target, release, cargo)
        if options.as_json:
            sys.stdout.write(texts.as_json(texts.promoted_json(done, target.address)))
        else:
            _show(texts.promoted(done, target.address))
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
        sys.stdout.write(texts.as_json(document))
    else:
        line = (
            f"{tag} would go to {target.address}: {counted(images, 'image')},"
            f" {size(copied)} to copy, {size(mounted)} to mount; nothing forbids it"
        )
        _show([line])


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


def _show(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
