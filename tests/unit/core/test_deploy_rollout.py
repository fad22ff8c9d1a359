"""What a rollout does next, and how it ends, follows from what ran before and what became of it."""

from __future__ import annotations

from typing import Any

import pytest

from builder.core.deploy.projects import (
    check_projects,
    final,
    fits,
    leftovers,
    own_name,
    project_name,
    strangers,
    with_own_volumes,
)
from builder.core.deploy.records import Deployment
from builder.core.deploy.rollout import (
    TAIL,
    Outcome,
    Rollout,
    StackChange,
    WayBack,
    blocked_line,
    exit_code,
    log_reasons,
    plan_line,
    rollout_lines,
    sum_line,
    unwell,
)
from builder.core.deploy.stack import Container, is_well, may_become_well
from builder.core.errors import DeployError


def compose(tag: str = "1") -> dict[str, Any]:
    return {
        "name": "cloud-x",
        "services": {
            "api": {"image": f"r/api@{tag}", "restart": "always"},
            "sync": {"image": "r/sync@1"},
        },
    }


def deployment(tag: str = "1", **more: Any) -> Deployment:
    at = "2026-01-01T00:00:00Z"
    return Deployment(release="r1", at=at, host="local", by="ann", compose=compose(tag), **more)


PART = deployment(complete=False)
ADOPTED = deployment(adopted=True)


def change(before: Deployment | None, tag: str = "1") -> StackChange:
    return StackChange(stack="x", wanted=compose(tag), before=before)


@pytest.mark.parametrize(
    ("before", "tag", "may_be_none", "services", "way_back"),
    [
        (None, "1", False, ("api", "sync"), WayBack.REMOVE),
        (deployment(), "1", True, (), WayBack.RESTORE),
        (deployment(), "2", False, ("api",), WayBack.RESTORE),
        # Only compose can tell whether what was deployed from elsewhere is the same.
        (ADOPTED, "1", False, (), WayBack.RESTORE),
        (PART, "1", False, ("api", "sync"), WayBack.LEAVE),
    ],
)
def test_a_change_follows_from_what_ran_before(
    before: Deployment | None,
    tag: str,
    *,
    may_be_none: bool,
    services: tuple[str, ...],
    way_back: WayBack,
) -> None:
    made = change(before, tag)
    assert (made.may_be_none, made.services, made.way_back) == (may_be_none, services, way_back)


@pytest.mark.parametrize(
    ("before", "succeeded", "outcome"),
    [
        (None, True, Outcome.FAILED),
        (None, False, Outcome.LOST),
        (deployment(), True, Outcome.ROLLED_BACK),
        (deployment(), False, Outcome.LOST),
        (PART, False, Outcome.LOST),
        (PART, True, Outcome.LOST),
    ],
)
def test_a_failure_ends_as_its_way_back_did(
    before: Deployment | None, *, succeeded: bool, outcome: Outcome
) -> None:
    rollout = change(before, "2").taken_back(["why"], succeeded=succeeded)
    assert rollout.outcome is outcome
    assert rollout.reasons[0] == "why"
    stays = "what ann deployed before is known here in parts only: it stays"
    assert (stays in rollout.reasons) == (before is PART)


def test_what_cannot_be_pulled_says_the_last_of_why() -> None:
    said = [f"line {at}" for at in range(40)] + [" "]
    rollout = change(None).not_pulled(said)
    assert rollout.outcome is Outcome.FAILED
    assert rollout.reasons[0] == "its images cannot be pulled:"
    assert rollout.reasons[1:] == tuple(f"  line {at}" for at in range(40 - TAIL, 40))


def container(service: str, state: str, health: str = "", code: int = 0) -> Container:
    return Container(
        service=service, name=service, state=state, health=health, exit_code=code, image="i"
    )


@pytest.mark.parametrize(
    ("one", "named"),
    [
        (container("api", "running"), False),
        (container("api", "running", "healthy"), False),
        (container("api", "running", "starting"), True),
        (container("api", "exited"), True),
        (container("sync", "exited"), False),
        (container("sync", "exited", code=1), True),
        # Without others that wait for its end it may as well go on.
        (container("sync", "running"), False),
        # It waits for another one, which is named.
        (container("api", "created"), False),
        (container("stranger", "exited", code=1), False),
    ],
)
def test_containers_that_are_not_well_are_named(one: Container, *, named: bool) -> None:
    assert unwell(compose(), [one]) == ([one] if named else [])


def test_a_reason_has_the_last_words_and_where_all_of_them_are() -> None:
    lines = [str(at) for at in range(20)]
    reasons = log_reasons(container("sync", "exited", code=1), "/f", lines)
    assert reasons[0] == "sync is exited with 1; its log is kept in /f:"
    assert reasons[1:] == [f"  {at}" for at in range(20 - TAIL, 20)]


@pytest.mark.parametrize(
    ("before", "containers", "said"),
    [
        (None, (), "would be started: api, sync"),
        (deployment("2"), (), "would be started: api"),
        (deployment(), (), "would be started: what is not well"),
        (deployment(), (container("api", "running"), container("sync", "exited")), "unchanged"),
    ],
)
def test_a_plan_says_what_would_be_started(
    before: Deployment | None, containers: tuple[Container, ...], said: str
) -> None:
    assert plan_line("x", compose(), before, containers) == f"{'x':20} {said}"


def test_a_rollout_is_said_in_a_line_and_its_reasons() -> None:
    rollout = Rollout(stack="x", outcome=Outcome.LOST, changed=("a", "b"), reasons=("why",))
    first = f"{'x':20} failed, and rolling back failed too (1.2 s): a, b"
    assert rollout_lines(rollout, 1.23) == [first, "  why"]
    assert blocked_line("x", interrupted=True).endswith("not started: interrupted")
    assert blocked_line("x", interrupted=False).endswith("a stack that it needs is not up")


@pytest.mark.parametrize(
    ("outcomes", "interrupted", "code", "up"),
    [
        ((), False, 0, 0),
        ((Outcome.UNCHANGED, Outcome.STARTED, Outcome.WOULD_START), False, 0, 3),
        ((Outcome.STARTED, Outcome.ROLLED_BACK), False, 5, 1),
        ((Outcome.BLOCKED,), False, 5, 0),
        ((Outcome.STARTED, Outcome.INTERRUPTED), True, 130, 1),
    ],
)
def test_a_run_is_as_good_as_its_rollouts(
    outcomes: tuple[Outcome, ...], *, interrupted: bool, code: int, up: int
) -> None:
    rollouts = [Rollout(stack="x", outcome=one) for one in outcomes]
    assert exit_code(rollouts, interrupted=interrupted) == code
    assert sum_line("r1", rollouts, 2.0) == f"r1: {up} of {len(outcomes)} stacks up, 2.0 s"


# -- compose projects ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("services: {}\n", ""),
        ("name: shop\nservices: {}\n", "shop"),
        ('# a comment\n"name" : "${CLOUD:-cloud}-db"\n', "${CLOUD:-cloud}-db"),
        ("services:\n  a:\n    name: b\n", ""),
        ("x-name: a\nnames: b\n", ""),
    ],
)
def test_a_compose_file_may_name_its_project(text: str, name: str) -> None:
    assert own_name(text) == name


@pytest.mark.parametrize(
    ("project", "written", "fit"),
    [
        ("shop-db", "shop-db", True),
        ("cloud-db", "${CLOUD:-cloud}-db", True),
        ("victim-db", "${CLOUD:-cloud}-db", False),
        ("a.b-db", "${DOTS}-db", True),
        ("axb-db", "${DOTS-x}-db", False),
        # Nobody knows what this one is.
        ("shop-db", "$CLOUD-db", True),
        ("shop-web", "${CLOUD}-db", False),
        ("shop", "shop-db", False),
        ("a.b", "axb", False),
    ],
)
def test_a_project_fits_what_is_written(project: str, written: str, *, fit: bool) -> None:
    assert fits(project, written, {"DOTS": "a.b", "EMPTY": ""}) is fit


def test_a_project_is_named_after_namespace_and_stack() -> None:
    assert project_name("Acme/Shop", "db") == "acme-shop-db"
    assert project_name("_a", "b") == "a-b"


def test_two_stacks_must_not_share_a_project_on_one_host() -> None:
    check_projects({"a": ("h", "p"), "b": ("h", "q"), "c": ("other", "p")})
    with pytest.raises(DeployError, match='a and b have the same compose project "p"'):
        check_projects({"a": ("h", "p"), "b": ("h", "p")})


def test_a_container_is_ours_if_a_record_of_that_project_has_its_service() -> None:
    here = [container(name, "running") for name in ("api", "sync", "theirs")]
    ours = deployment()
    assert strangers(here, "cloud-x", [None, ours]) == ["theirs"]
    assert strangers(here, "cloud-x", []) == ["api", "sync", "theirs"]
    assert strangers(here, "another", [ours]) == ["api", "sync", "theirs"]


def test_only_what_we_have_started_is_left_over() -> None:
    here = [container(name, "running") for name in ("api", "sync", "theirs")]
    wanted = {"name": "cloud-x", "services": {"api": {}}}
    assert leftovers(here, wanted, [None, deployment()]) == ["sync"]
    assert leftovers(here, {**wanted, "name": "another"}, [deployment()]) == []


def test_volumes_of_others_are_not_removed() -> None:
    volumes = {"a": None, "b": {"name": "n_b"}, "c": {"name": "victim_data"}}
    compose: dict[str, Any] = {"name": "n", "services": {}, "volumes": volumes}
    kept = with_own_volumes(compose, frozenset({"n_a", "n_b"}))["volumes"]
    assert kept == {**volumes, "c": {"name": "victim_data", "external": True}}
    assert with_own_volumes({"name": "n"}, frozenset()) == {"name": "n"}


def test_a_stack_is_rendered_without_what_has_done_its_part() -> None:
    rendered = {"name": "n", "x-a": 1, "services": {"a": {"image": "i", "profiles": ["debug"]}}}
    assert final(rendered) == {"name": "n", "services": {"a": {"image": "i"}}}


SERVICES: dict[str, Any] = {
    "none": {},
    "no": {"restart": "no"},
    "failure": {"restart": "on-failure:3"},
    "always": {"restart": "always"},
    "any": {"deploy": {"restart_policy": {"condition": "any"}}},
    "given": {"deploy": {"restart_policy": {}}},
    "once": {"deploy": {"restart_policy": {"condition": "none"}}},
    "job": {"restart": "no"},
    "waits": {"depends_on": {"job": {"condition": "service_completed_successfully"}}},
    "list": {"depends_on": ["none"], "restart": "always"},
}


@pytest.mark.parametrize(
    ("state", "well"),
    [
        (("exited", "", 0), {"none", "no", "failure", "once", "job", "waits"}),
        (("exited", "", 1), set()),
        (("running", "", 0), SERVICES.keys() - {"job"}),
        (("running", "unhealthy", 0), set()),
    ],
)
def test_a_container_is_well_where_it_works_or_has_done_its_work(
    state: tuple[str, str, int], well: set[str]
) -> None:
    stack = {"name": "s", "services": SERVICES}
    here = [container(name, *state) for name in SERVICES]
    assert {one.service for one in here if one.is_well(stack)} == well


def test_a_service_without_replicas_needs_no_container() -> None:
    services: dict[str, Any] = {"a": {}, "b": {"scale": 0}, "c": {"deploy": {"replicas": 0}}}
    stack = {"name": "s", "services": services}
    assert is_well(stack, [container("a", "running")])
    assert not is_well(stack, [])
    assert not is_well(stack, [container("a", "running"), container("extra", "running")])


def test_each_replica_counts() -> None:
    stack = {"name": "s", "services": {"a": {"deploy": {"replicas": 2}}}}
    good, bad = container("a", "running"), container("a", "running", "unhealthy")
    assert is_well(stack, [good, good])
    assert not is_well(stack, [good])
    assert not is_well(stack, [bad, good])


@pytest.mark.parametrize(
    ("api", "well", "may"),
    [
        (container("api", "running", "starting"), False, True),
        (container("api", "running", "healthy"), True, False),
        (container("api", "running", "unhealthy"), False, False),
        (container("api", "exited", code=1), False, False),
        (container("other", "running", "starting"), False, False),
    ],
)
def test_a_stack_may_become_well_where_it_is_starting(
    api: Container, *, well: bool, may: bool
) -> None:
    here = [container("sync", "exited"), api]
    assert (is_well(compose(), here), may_become_well(compose(), here)) == (well, may)
