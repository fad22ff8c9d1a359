"""The command doctor: all checks, one after the other, each for itself."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from builder.config.load import find_config
from builder.core.errors import ConfigError, InputError, InputErrors
from builder.core.graph import ImageGraph
from builder.core.options import ListOptions, TreeOptions
from builder.core.settings.config import DEFAULT_ADDRESS, LOCAL, Config, registry_host
from builder.core.text import clean, counted
from builder.deploy import environment
from builder.doctor import engine, hosts, machine, needs
from builder.doctor.finding import Finding, Level, exit_code, of_error, ok, warning
from builder.doctor.kernel import Kernel
from builder.doctor.registry import registry
from builder.http.trust import Trust
from builder.registry.client import Registry
from builder.report.streams import print_json
from builder.system.clock import SystemClock
from builder.system.files import state_dir
from builder.system.resources import available_memory
from builder.tree.read import load_config, read_tree


def doctor(tree: TreeOptions, options: ListOptions, environ: Mapping[str, str]) -> int:
    """Say of each thing that ocbuild's jobs need how it is; 0 if nothing is in the way."""
    findings: list[Finding] = []
    for finding in examine(tree, environ):
        findings.append(finding)
        if not options.as_json:
            _show(finding)
    code = exit_code(findings)
    failures, warnings = (
        sum(finding.level is level for finding in findings)
        for level in (Level.FAILURE, Level.WARNING)
    )
    if options.as_json:
        document = {
            "findings": [finding.as_json() for finding in findings],
            "failures": failures,
            "warnings": warnings,
            "exit_code": code,
        }
        print_json(document)
    else:
        sys.stdout.write(f"{counted(failures, 'failure')}, {counted(warnings, 'warning')}\n")
    return code


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
    yield from engine.engine(environ, deploys=deploys, plain=host if scheme == "http" else "")
    state = state_dir(environ)
    yield machine.state(state)
    yield from machine.memory(available_memory())
    with Registry.connect(environ, clock=SystemClock(), plain_http=plain) as client:
        yield from registry(
            client,
            host,
            namespace,
            scheme=scheme,
            embedded=host == DEFAULT_ADDRESS,
        )
        if config is not None and graph is not None:
            yield from engine.bases(graph.external, config, environ, client)
    if config is not None and deploys:
        yield from machine.limits()
        interfaces = frozenset(interface.name for interface in Path("/sys/class/net").iterdir())
        cloud = _cloud(config)
        yield from needs.check(config.deploy, Kernel.of_this_machine(), cloud, interfaces)
        yield from hosts.hosts(config.deploy, environ)


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
        file = folder / environment.FILE
        file = file if file.exists() else folder / environment.EXAMPLE
        if not file.exists():
            continue
        for line in file.read_text(encoding="utf-8").splitlines():
            name, equals, value = line.partition("=")
            if equals and not name.startswith("#"):
                values[name.strip()] = value.strip()
    return values


def _show(finding: Finding) -> None:
    level = "FAILURE" if finding.level is Level.FAILURE else finding.level.value
    fact, *more = finding.fact.splitlines() or [""]
    lines = [
        f"{finding.area:9} {level:8} {clean(fact)}",
        *(f"{'':19}{clean(line)}" for line in more),
    ]
    if finding.remedy:
        first, *rest = finding.remedy.splitlines()
        lines += [f"{'':19}-> {clean(first)}", *(f"{'':22}{clean(line)}" for line in rest)]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
