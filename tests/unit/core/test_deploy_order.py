"""Stacks come up after what they need, side by side, and not at all after a failure below them."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.core.deploy.rollout import StackOrder, chosen
from builder.core.errors import ConfigError, UsageError
from builder.core.settings.sections import Stack


def stacks(**needs: str) -> dict[str, Stack]:
    """Each stack with the words of what it needs."""
    return {
        name: Stack(name=name, file=Path("x.yml"), needs=tuple(words.split()))
        for name, words in needs.items()
    }


CLOUD = stacks(database="", keystone="database", glance="keystone", nova="keystone", compute="nova")


def test_a_stack_is_ready_when_all_that_it_needs_is_done() -> None:
    order = StackOrder(CLOUD)
    assert order.ready() == ["database"]
    assert order.ready() == []
    order.done("database")
    assert order.ready() == ["keystone"]
    order.done("keystone")
    assert order.ready() == ["glance", "nova"]


def test_only_what_is_chosen_is_waited_for() -> None:
    order = StackOrder(chosen(CLOUD, ["nova", "compute"]))
    assert order.ready() == ["nova"]


def test_a_failure_blocks_what_is_built_on_it_and_nothing_else() -> None:
    order = StackOrder(stacks(a="", b="a", c="b", d=""))
    assert order.ready() == ["a", "d"]
    order.failed("a")
    assert [order.blocked(name) for name in "bcd"] == [True, True, False]


def test_blocked_stacks_are_handed_out_so_that_the_run_ends() -> None:
    order = StackOrder(stacks(a="", b="a"))
    order.ready()
    order.failed("a")
    assert order.ready() == ["b"]
    order.failed("b")
    assert not order.active


def test_a_circle_is_an_error_that_names_it_in_the_order_of_the_needs() -> None:
    with pytest.raises(ConfigError) as caught:
        StackOrder(stacks(a="b", b="c", c="a"))
    path = caught.value.message.removeprefix("stacks need each other in a circle: ")
    around = ["a needs b needs c needs a", "b needs c needs a needs b", "c needs a needs b needs c"]
    assert path in around


def test_an_unknown_stack_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(UsageError) as caught:
        chosen(CLOUD, ["keyston"])
    assert caught.value.hint == 'did you mean "keystone"?'


def test_a_project_without_stacks_says_so() -> None:
    with pytest.raises(UsageError, match="no stacks"):
        chosen({}, [])
