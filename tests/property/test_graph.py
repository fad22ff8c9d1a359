"""The build order of random graphs is the one that scripts rely on."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from builder.core.errors import CycleError, InputErrors, Location
from builder.core.graph import _build_order
from builder.core.image import ImageSource

Links = Mapping[str, Mapping[str, str]]


class Named:
    """As much of a source as an order needs."""

    def __init__(self, name: str) -> None:
        self.location = Location(name)


def sources(links: Links) -> Mapping[str, ImageSource]:
    return cast("Mapping[str, ImageSource]", {name: Named(name) for name in links})


def by_kahn(links: Links) -> tuple[str, ...]:
    """Of all that are free, always the first by name."""
    waiting = {name: set(needed.values()) for name, needed in links.items()}
    free = sorted(name for name, needed in waiting.items() if not needed)
    order = []
    while free:
        name = heapq.heappop(free)
        order.append(name)
        for child, needed in waiting.items():
            if name in needed:
                needed.remove(name)
                if not needed:
                    heapq.heappush(free, child)
    return tuple(order)


@st.composite
def graphs(draw: st.DrawFn) -> Links:
    """Images with random names, each built on some of those that come before it."""
    names = draw(st.lists(st.text("abc-", min_size=1, max_size=4), unique=True, max_size=12))
    return {
        name: {
            parent: parent
            for parent in draw(
                st.lists(st.sampled_from(names[:at]), unique=True) if at else st.just([])
            )
        }
        for at, name in enumerate(names)
    }


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_of_all_that_are_free_the_first_by_name_comes_next(links: Links) -> None:
    assert _build_order(sources(links), links) == by_kahn(links)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs().filter(bool), st.data())
def test_a_circle_is_an_error_that_names_its_images(links: Links, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(sorted(links)), min_size=1, unique=True))
    circle = {
        name: {**links[name], "next": after}
        for name, after in zip(chosen, [*chosen[1:], chosen[0]], strict=True)
    }
    with pytest.raises((CycleError, InputErrors)) as caught:
        _build_order(sources(links), {**links, **circle})
    assert " -> " in str(caught.value)
