"""Two releases are compared by digest, and the reasons are those of their inputs."""

from __future__ import annotations

from msgspec.structs import replace

from builder.core.release import Inputs, Release, ReleasedImage, difference, input_changes


def image(name: str, version: str = "1", *, inputs: Inputs | None = None) -> ReleasedImage:
    return ReleasedImage(
        name=name,
        path=f"acme/{name}",
        tag="1.0",
        digest=f"sha256:{name}{version}",
        key=f"{name}{version}",
        group="images",
        inputs=inputs or Inputs(recipe=version),
    )


def release(tag: str, *images: ReleasedImage) -> Release:
    return Release(
        tag=tag,
        project="acme",
        namespace="acme",
        commit=tag,
        created="2025-01-31T12:00:00Z",
        images={one.name: one for one in images},
    )


def reasons(old: ReleasedImage, new: ReleasedImage) -> tuple[str, ...]:
    (changed,) = difference(release("a", old), release("b", new)).changed
    return changed.reasons


def test_images_come_go_change_and_stay() -> None:
    old = release("a", image("gone"), image("same"), image("nova"))
    new = release("b", image("nova", "2"), image("new"), image("same"))
    found = difference(old, new)
    assert [one.name for one in found.added] == ["new"]
    assert [one.name for one in found.removed] == ["gone"]
    assert [one.new.name for one in found.changed] == ["nova"]
    assert found.unchanged == ("same",)
    assert (found.old, found.new) == ("a", "b")


def test_a_release_does_not_differ_from_itself() -> None:
    one = release("a", image("nova"), image("glance"))
    found = difference(one, one)
    assert found.unchanged == ("glance", "nova")
    assert (found.added, found.removed, found.changed, found.missing) == ((), (), (), {})


def test_what_became_missing_says_why() -> None:
    old = release("a", image("kafka"))
    new = replace(release("b"), missing={"kafka": "RUN curl failed", "other": "never was"})
    assert difference(old, new).missing == {"kafka": "RUN curl failed"}


def test_each_kind_of_input_is_a_reason_of_its_own() -> None:
    base = "debian:trixie-slim"
    old = Inputs(
        recipe="1",
        setting="s",
        files={"entrypoint.sh": "1", "old": "1", "same": "1"},
        args={"A": "1", "B": "1"},
        bases={base: "sha256:" + "1" * 64},
    )
    new = Inputs(
        recipe="2",
        setting="t",
        files={"entrypoint.sh": "2", "new": "1", "same": "1"},
        args={"A": "2", "C": "1"},
        bases={base: "sha256:" + "2" * 64, "redis:7": "sha256:3"},
    )
    assert input_changes(old, new) == (
        "Dockerfile changed",
        "file new added",
        "file old removed",
        "file entrypoint.sh changed",
        "build arg A changed",
        "build arg B changed",
        "build arg C changed",
        "base redis:7 added",
        f"base {base} moved from sha256:{'1' * 12} to sha256:{'2' * 12}",
        "engine or platform changed",
    )
    assert input_changes(old, old) == ()


def test_of_many_files_the_first_are_named_and_the_rest_are_counted() -> None:
    old = Inputs(recipe="1", files={f"f{n}": "1" for n in range(9)})
    new = Inputs(recipe="1", files={f"f{n}": "2" for n in range(9)})
    found = input_changes(old, new)
    assert found[0] == "file f0 changed"
    assert found[-1] == "and 4 more files"
    assert len(found) == 6


def test_a_changed_parent_is_named() -> None:
    on_nova = Inputs(recipe="1", parents=("nova",))
    old = release("a", image("nova"), image("nova-api", "1", inputs=on_nova))
    new = release("b", image("nova", "2"), image("nova-api", "2", inputs=on_nova))
    changed = {one.new.name: one.reasons for one in difference(old, new).changed}
    assert changed == {"nova": ("Dockerfile changed",), "nova-api": ("parent nova changed",)}


def test_another_parent_is_a_reason() -> None:
    old = image("api", "1", inputs=Inputs(recipe="1", parents=("nova",)))
    new = image("api", "2", inputs=Inputs(recipe="1", parents=("base",)))
    assert reasons(old, new) == ("built on base instead of nova",)


def test_a_refresh_says_that_it_was_one() -> None:
    same = Inputs(recipe="1")
    old, new = image("nova", "1", inputs=same), image("nova", "2", inputs=same)
    assert reasons(old, replace(new, generation=1)) == ("refreshed (generation 0 → 1)",)


def test_another_image_of_the_same_key_was_made_anew() -> None:
    old, new = image("nova"), replace(image("nova"), digest="sha256:other")
    assert reasons(old, new) == ("made anew from the same inputs",)


def test_a_change_without_a_record_is_admitted() -> None:
    same = Inputs(recipe="1")
    old, new = image("nova", "1", inputs=same), image("nova", "2", inputs=same)
    assert reasons(old, new) == ("an input changed of which the release keeps no record",)
