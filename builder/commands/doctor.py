"""The command doctor: all checks, one after the other, each for itself."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from builder.config.load import find_config
from builder.core.deploy.records import assignments
from builder.core.doctor.findings import (
    Finding,
    as_document,
    exit_code,
    finding_lines,
    of_error,
    ok,
    sum_line,
    warning,
)
from builder.core.doctor.kernel import check
from builder.core.errors import ConfigError, InputError, InputErrors
from builder.core.graph import ImageGraph
from builder.core.options import ListOptions, TreeOptions
from builder.core.settings.config import DEFAULT_ADDRESS, LOCAL, Config, registry_host
from builder.core.text import counted
from builder.deploy import project as deployed
from builder.doctor import facts
from builder.http.trust import Trust
from builder.registry.client import Registry
from builder.report.streams import print_json
from builder.system.files import state_dir
from builder.system.resources import SystemClock, available_memory
from builder.tree.read import load_config, read_tree


def doctor(tree: TreeOptions, options: ListOptions, environ: Mapping[str, str]) -> int:
    """Say of each thing that ocbuild's jobs need how it is; 0 if nothing is in the way."""
    findings: list[Finding] = []
    for finding in examine(tree, environ):
        findings.append(finding)
        if not options.as_json:
            _show(finding)
    if options.as_json:
        print_json(as_document(findings))
    else:
        sys.stdout.write(sum_line(findings) + "\n")
    return exit_code(findings)


def examine(options: TreeOptions, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Every finding, as soon as it is there."""
    config, graph, tree = _tree(options)
    yield from tree
    host, namespace = DEFAULT_ADDRESS, options.namespace
    if config is not None:
        host, namespace = registry_host(config), config.project.namespace
    elif options.registry not in (None, LOCAL):
        host = str(options.registry)
    plain = frozenset[str]() if config is None else frozenset(config.publish.plain_http)
    scheme = Trust.of(environ, plain_http=plain).scheme(host)
    deploys = config is not None and bool(config.deploy.stacks)
    yield from facts.engine(environ, deploys=deploys, plain=host if scheme == "http" else "")
    state = state_dir(environ)
    yield facts.state(state)
    yield from facts.memory(available_memory())
    with Registry.connect(environ, clock=SystemClock(), plain_http=plain) as client:
        yield from facts.registry(
            client,
            host,
            namespace,
            scheme=scheme,
            embedded=host == DEFAULT_ADDRESS,
        )
        if config is not None and graph is not None:
            yield from facts.bases(graph.external, config, environ, client)
    if config is not None and deploys:
        yield from facts.limits()
        cloud, interfaces = _cloud(config), facts.interfaces()
        yield from check(config.deploy, facts.read_kernel(), cloud, interfaces, facts.tried)
        yield from facts.hosts(config.deploy, environ)


def _tree(options: TreeOptions) -> tuple[Config | None, ImageGraph | None, list[Finding]]:
    """build.toml, the Dockerfiles and git, or what is wrong with them."""
    try:
        find_config(Path.cwd(), options.config)
    except ConfigError as error:
        if options.config is not None:
            return None, None, [of_error("tree", error)]
        remedy = "`ocbuild init` writes one; or call doctor in the folder of a tree"
        return None, None, [warning("tree", "there is no build.toml here", remedy)]
    try:
        config = load_config(options)
    except InputError as error:
        return None, None, _each(error)
    try:
        tree = read_tree(options)
    except InputError as error:
        return config, None, _each(error)
    revision = "no git is needed"
    if tree.revision is not None:
        revision = f"commit {tree.revision.short}{', with uncommitted edits' * tree.dirty}"
    images = counted(len(tree.graph.images), "image")
    return config, tree.graph, [ok("tree", f"{config.root}: {images}, {revision}")]


def _each(error: InputError) -> list[Finding]:
    errors: Iterable[InputError] = error.errors if isinstance(error, InputErrors) else (error,)
    return [of_error("tree", error) for error in errors]


def _cloud(config: Config) -> dict[str, str]:
    """What common.env says, or the example that it will be made from."""
    values: dict[str, str] = {}
    for folder in {stack.file.parent for stack in config.deploy.stacks.values()}:
        file = folder / deployed.FILE
        file = file if file.exists() else folder / deployed.EXAMPLE
        if file.exists():
            values |= assignments(file.read_text(encoding="utf-8"))
    return values


def _show(finding: Finding) -> None:
    sys.stdout.write("\n".join(finding_lines(finding)) + "\n")
    sys.stdout.flush()
