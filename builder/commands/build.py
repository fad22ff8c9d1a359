"""The main job as one story: read, select, gather facts, plan, run, publish, report."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from builder.config.load import Lock
from builder.core.bases import Resolution
from builder.core.errors import EngineUnavailableError, RevisionError
from builder.core.options import BuildOptions, SelectOptions, TreeOptions
from builder.core.run_json import plan_json
from builder.core.run_text import plan_listing
from builder.core.select import Selection
from builder.docker.daemon import Daemon
from builder.engines import bases
from builder.publish.home import start_registry
from builder.publish.write import open_writer
from builder.report.files import write_failure
from builder.run.carry_out import DURATIONS, open_session, prepare
from builder.run.facts import Sources, look_ahead, plan_run
from builder.system.files import record_durations, state_dir
from builder.tree.read import Tree, choose_images, edited_since, read_tree

if TYPE_CHECKING:
    from builder.core.new_release import Renewal


def build_or_show(
    tree_options: TreeOptions,
    select_options: SelectOptions,
    options: BuildOptions,
    environ: Mapping[str, str],
) -> int:
    """The command ``build``; with --dry-run it is ``plan``."""
    run = plan if options.dry_run else build
    return run(tree_options, select_options, options, environ)


def build(
    tree_options: TreeOptions,
    select_options: SelectOptions,
    options: BuildOptions,
    environ: Mapping[str, str],
) -> int:
    """Make the selected images and publish them if asked; the exit code.

    Raises:
        OcbuildError: for all that is wrong before the first task starts; afterwards failures are
            in the report.

    """
    tree = read_tree(tree_options)
    if options.push:
        refuse_dirt(tree, options)
    selection = choose_images(tree, select_options)
    if not selection.images:
        text = "nothing is selected: no image has changed, or none had failed"
        sys.stderr.write(f"{text}\n")
        if options.report is not None:
            write_failure(options.report, status="ok", message=text)
        return 0
    return make(tree, selection, options, environ)


def make(
    tree: Tree,
    selection: Selection,
    options: BuildOptions,
    environ: Mapping[str, str],
    renewal: Renewal | None = None,
) -> int:
    """Make these images of the tree, with ``renewal`` as a refresh does; the exit code."""
    sources = Sources.of(tree, selection, options, renewal)
    lock = _open_lock(sources)
    daemon = Daemon.connect(environ)
    sources = sources.with_engine(daemon, environ)
    with ExitStack() as stack:
        session = stack.enter_context(open_session(tree, options, environ))
        writer = None
        if options.push:
            start_registry(tree.config, environ, session.tell)
            opened = open_writer(
                tree, renewal, environ, holder=session.holder, cancel=session.cancel
            )
            writer = stack.enter_context(opened)
            sources = sources.with_releases(writer)
        provide = bases.provider(tree.config, daemon, session.tell, session.cancel)
        pins = {**lock.pins, **(renewal.pins if renewal else {})}
        plan, gathered = plan_run(sources, pins, provide)
        if options.push and edited_since(sources.tree, gathered.contexts):
            raise RevisionError(
                "the tree was edited while this run began, so no commit has what it would publish",
                hint="commit or undo the edits, and run the same again",
            )
        _keep_lock(lock, sources, gathered.resolution)
        if writer is not None and not plan.publishes_nothing:
            writer.check_access()
        run = prepare(
            session,
            sources,
            plan,
            gathered,
            daemon=daemon,
            writer=writer,
            renewal=renewal,
            environ=environ,
        )
        summary = run.carry_out()
    record_durations(state_dir(environ) / DURATIONS, summary)
    return summary.exit_code


def plan(
    tree_options: TreeOptions,
    select_options: SelectOptions,
    options: BuildOptions,
    environ: Mapping[str, str],
) -> int:
    """Show what ``build`` would do; without an engine the keys of images stay unknown."""
    tree = read_tree(tree_options)
    sources = Sources.of(tree, choose_images(tree, select_options), options, None)
    lock = _open_lock(sources)
    try:
        sources = sources.with_engine(Daemon.connect(environ), environ)
    except EngineUnavailableError as error:
        sys.stderr.write(f"note: {error.message}; what exists already is not known\n")
    with ExitStack() as stack:
        if options.push:
            reading = open_writer(tree, None, environ, holder="", cancel=threading.Event())
            sources = sources.with_releases(stack.enter_context(reading))
        resolution: Resolution = {}
        if sources.daemon is not None:
            resolution = bases.look_up(sources.texts, tree.config, sources.daemon, lock.pins)
            lock.record(resolution, sources.tree.graph.external)
        planned = look_ahead(sources, resolution, sources.texts - lock.pins.keys())
    if options.as_json:
        sys.stdout.write(json.dumps(plan_json(planned), indent=2) + "\n")
    else:
        sys.stdout.write(plan_listing(planned))
    return 0


def refuse_dirt(tree: Tree, options: BuildOptions) -> None:
    """Refuse to publish what no commit has.

    Raises:
        RevisionError: the tree has edits, and they are not allowed.

    """
    if tree.dirty and not options.allow_dirty:
        raise RevisionError(
            "the tree has uncommitted edits, so no commit says what would be published",
            hint="commit them, or publish under a tag that ends in -dirty with --allow-dirty",
        )


def _open_lock(sources: Sources) -> Lock:
    """What build.lock says.

    Raises:
        ConfigError: it cannot be read, or lacks what it must have.

    """
    tree = sources.tree
    lock = Lock.open(tree.config, sources.options)
    lock.check(tree.graph.externals_of(sources.selection.images), tree.config)
    return lock


def _keep_lock(lock: Lock, sources: Sources, resolution: Resolution) -> None:
    """Write build.lock if asked to.

    Raises:
        RevisionError: it is another one now, and no commit has it.

    """
    changed = lock.record(resolution, sources.tree.graph.external)
    if changed and sources.options.push:
        raise RevisionError(
            f"{sources.tree.config.lock_path.name} has changed, so no commit has what is published",
            hint="commit it, and run the same again",
        )
