"""What engines are asked for follows from the plan, the tree and the machine."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from builder.config.load import load
from builder.core.bases import Pin, as_image, as_promise
from builder.core.engine.request import (
    BuildRequest,
    Circumstances,
    SecretSource,
    make_requests,
    promised_bases,
)
from builder.core.errors import BuildError, TreeError
from builder.core.graph import ImageGraph
from builder.core.image import InTreeNames
from builder.core.plan import Action, Decision, Plan
from builder.tree.discover import discover
from tests.support.decisions import DIGEST as REUSED, decision
from tests.support.tree import BUILD_TOML, Tree

DIGEST = f"sha256:{'d' * 64}"
DEBIAN = as_image("debian:12", f"mirror/debian@{DIGEST}", DIGEST)
SETTINGS = """
[build]
timeout = 90

[images.app]
timeout = 5
secrets = { token = { env = "TOKEN" } }
"""


@pytest.fixture
def given(tmp_path: Path) -> Circumstances:
    tree = Tree(
        tmp_path,
        {
            "base": "FROM debian:12\n",
            "tools": "FROM debian:12\n",
            "app": "FROM base\nCOPY --from=tools /t /t\n",
            "odd": "FROM base AS first\nFROM base\n",
        },
        toml=BUILD_TOML + SETTINGS,
    )
    config = load(tree.root / "build.toml", [])
    return Circumstances(
        config=config,
        graph=ImageGraph.of(discover(config), InTreeNames(namespace="acme")),
        bases={"debian:12": DEBIAN},
        commit="c0ffee",
        committed_at=datetime(2025, 1, 31, tzinfo=timezone.utc),
    )


def requests(given: Circumstances, *steps: Decision) -> dict[str, Any]:
    return make_requests(Plan(commit="", dirty=False, steps=steps), given)


def request(given: Circumstances, name: str, *others: Decision, **step: Any) -> BuildRequest:
    made = requests(given, *others, decision(name, key="k", **step))[name]
    assert isinstance(made, BuildRequest)
    return made


BASE = decision("base")
TOOLS = decision("tools", action=Action.REUSE)


def test_only_what_is_made_is_asked_for(given: Circumstances) -> None:
    retag = decision("app", action=Action.RETAG)
    assert set(requests(given, BASE, TOOLS, retag)) == {"base"}


def test_each_name_of_the_dockerfile_comes_to_what_it_is_in_this_run(given: Circumstances) -> None:
    app = request(given, "app", BASE, TOOLS)
    assert app.contexts == {"base": "base:1", "tools": f"tools@{REUSED}"}
    assert request(given, "base").contexts == {"debian:12": f"docker-image://{DEBIAN.reference}"}
    assert (app.base, request(given, "base").base) == ("base", "")


def test_an_image_says_what_it_is(given: Circumstances) -> None:
    prefix = "org.opencontainers.image"
    labels = request(given, "base").labels
    assert labels[f"{prefix}.revision"] == "c0ffee"
    assert labels[f"{prefix}.created"].startswith("2025-01-31")
    assert labels[f"{prefix}.version"] == "1.0"
    assert labels[f"{prefix}.base.name"] == "debian:12"
    assert labels[f"{prefix}.base.digest"] == DIGEST
    assert request(given, "app", BASE, TOOLS).labels[f"{prefix}.base.name"] == "base:1"


def test_a_base_that_cannot_be_had_is_told_instead_of_a_request(given: Circumstances) -> None:
    error = BuildError("no registry has it")
    found = requests(replace(given, bases={"debian:12": error}), BASE, TOOLS, decision("app"))
    assert found["base"] is error
    assert isinstance(found["app"], BuildRequest)


@pytest.mark.parametrize(
    ("names", "cache", "expected"),
    [((), True, False), (("base",), True, True), (("app",), True, False), ((), False, True)],
)
def test_the_layer_cache_is_left_out_where_it_is_asked_for(
    given: Circumstances, names: tuple[str, ...], *, cache: bool, expected: bool
) -> None:
    build = replace(given.config.build, cache=cache)
    changed = replace(given, no_cache=frozenset(names), config=replace(given.config, build=build))
    assert request(changed, "base").no_cache is expected


def test_settings_of_the_image_come_before_those_of_all(given: Circumstances) -> None:
    assert request(given, "base").timeout == 90
    assert request(given, "app", BASE, TOOLS).timeout == 5


@pytest.mark.parametrize("bundle", [None, Path("/etc/ca.pem")])
def test_secrets_and_proxies_of_the_machine_are_passed_on(
    given: Circumstances, bundle: Path | None
) -> None:
    changed = replace(given, ca_bundle=bundle, proxies={"HTTP_PROXY": "http://proxy"})
    app = request(changed, "app", BASE, TOOLS)
    own = {"token": SecretSource(env="TOKEN")}
    assert app.secrets == (own | {"ca-bundle": SecretSource(file=bundle)} if bundle else own)
    assert app.args == {"HTTP_PROXY": "http://proxy"}


@pytest.mark.parametrize("push", [True, False])
@pytest.mark.parametrize("in_engine", [True, False])
def test_what_needs_no_engine_says_where_it_is_needed(
    given: Circumstances, *, push: bool, in_engine: bool
) -> None:
    step = replace(decision("base", action=Action.ASSEMBLE), in_engine=in_engine)
    found = requests(replace(given, push=push), step)["base"]
    assert (found.in_process, found.in_engine, found.published) == (True, in_engine, push)
    built = requests(replace(given, push=push), BASE)["base"]
    assert (built.in_process, built.in_engine, built.published) == (False, True, False)


def test_a_target_is_named_and_has_to_have_a_name(given: Circumstances) -> None:
    assert request(given, "base").target is None
    image = given.graph["odd"]
    named = replace(image, source=replace(image.source, target="0"))
    for target, name in ((0, "first"), (1, "")):
        graph = replace_image(given, replace(named, needs=replace(image.needs, target=target)))
        if name:
            assert request(graph, "odd", BASE).target == name
        else:
            with pytest.raises(TreeError, match="the target 0 is a stage without a name"):
                request(graph, "odd", BASE)


def replace_image(given: Circumstances, image: Any) -> Circumstances:
    return replace(given, graph=ImageGraph({**given.graph.images, image.name: image}))


def test_bases_that_are_only_promised_have_to_be_fetched_for_what_is_made(
    given: Circumstances,
) -> None:
    plan = Plan(commit="", dirty=False, steps=(BASE, TOOLS))
    promise = {"debian:12": as_promise("debian:12", DIGEST)}
    assert promised_bases(plan, given.graph, promise) == {"debian:12": Pin(digest=DIGEST)}
    assert promised_bases(plan, given.graph, {"debian:12": DEBIAN}) == {}
    assert promised_bases(plan, given.graph, {"debian:12": BuildError("no")}) == {}
    reused = Plan(commit="", dirty=False, steps=(TOOLS,))
    assert promised_bases(reused, given.graph, promise) == {}
