"""Images come in an order in which no layer is fetched twice, with the login that is known here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given, strategies as st

from builder.core.deploy.rollout import PullOrder, ancestors

IMAGES = {
    "base": ["b"],
    "openstack": ["b", "o"],
    "java": ["b", "j"],
    "nova-api": ["b", "o", "n", "na"],
    "nova-compute": ["b", "o", "n", "nc"],
    "kafka": ["b", "j", "k"],
}


def waves(images: Mapping[str, Sequence[str]], at_once: int = 9) -> list[list[str]]:
    """What is begun together, where all of a wave end at once."""
    order = PullOrder(images)
    found: list[list[str]] = []
    while order.active:
        wave: list[str] = []
        while len(wave) < at_once and (name := order.next()) is not None:
            wave.append(name)
        for name in wave:
            order.done(name)
        found.append(wave)
    return found


def test_what_all_are_built_on_comes_first_and_then_what_most_are() -> None:
    assert waves(IMAGES) == [
        ["base"],
        ["openstack", "java"],
        ["nova-api", "kafka"],
        ["nova-compute"],
    ]


def test_images_that_share_nothing_come_together() -> None:
    assert waves({"x": ["1"], "y": ["2"], "z": ["3"]}, at_once=2) == [["x", "y"], ["z"]]


def test_an_image_whose_layers_are_all_there_waits_for_nothing() -> None:
    assert waves({"x": ["1", "2"], "y": ["1", "2"], "z": []}) == [["x", "z"], ["y"]]


LAYERS = st.lists(st.sampled_from("abcdef"), max_size=5, unique=True)


@given(
    st.dictionaries(st.sampled_from(["i1", "i2", "i3", "i4", "i5", "i6"]), LAYERS),
    st.integers(min_value=1, max_value=4),
    st.randoms(use_true_random=False),
)
def test_every_image_comes_once_and_no_layer_is_on_its_way_twice(
    images: dict[str, list[str]], at_once: int, chance: object
) -> None:
    order = PullOrder(images)
    running: list[str] = []
    present: set[str] = set()
    begun: list[str] = []
    while order.active:
        while len(running) < at_once and (name := order.next()) is not None:
            moving = {layer for other in running for layer in images[other]} - present
            assert not moving & set(images[name])
            running.append(name)
            begun.append(name)
        assert running, "whoever waits, waits for somebody"
        done = running.pop(chance.randrange(len(running)))  # type: ignore[attr-defined]
        present |= set(images[done])
        order.done(done)
    assert sorted(begun) == sorted(images)


def test_ancestors_are_what_two_or_more_are_built_on_and_nobody_asked_for() -> None:
    wanted = {name: IMAGES[name] for name in ("nova-api", "nova-compute", "kafka")}
    assert ancestors(wanted, IMAGES) == {"base": ("b",), "openstack": ("b", "o")}
    both = {**wanted, "openstack": IMAGES["openstack"]}
    assert ancestors(both, {**IMAGES, "alias": ["b", "o"]}) == {"base": ("b",)}
    assert ancestors({"kafka": IMAGES["kafka"]}, IMAGES) == {}
