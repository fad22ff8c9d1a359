"""What building a target needs: stages, bases, context, args, and what it hands on."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent

import pytest

from builder.core.dockerfile.evaluate import evaluate
from builder.core.dockerfile.model import Dockerfile, Inherited, Needs, Via
from builder.core.dockerfile.parse import parse
from builder.core.dockerfile.stages import StageBase, bases_of, global_args
from builder.core.errors import DockerfileError, Location

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def read(text: str) -> Dockerfile:
    return parse(dedent(text).encode(), "Dockerfile")


def needs(
    text: str,
    *,
    args: Mapping[str, str] | None = None,
    target: str | None = None,
    platform: str = "linux/amd64",
    build_platform: str | None = None,
    images: Mapping[str, Inherited] | None = None,
) -> Needs:
    return evaluate(
        read(text),
        build_args=args or {},
        target=target,
        platform=platform,
        build_platform=build_platform,
        inherited=(images or {}).get,
    )


def image(text: str) -> Inherited:
    return needs(text).inherited


def refused(
    text: str,
    *,
    args: Mapping[str, str] | None = None,
    target: str | None = None,
    images: Mapping[str, Inherited] | None = None,
) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        needs(text, args=args, target=target, images=images)
    return caught.value


def uses(found: Needs) -> list[tuple[str, Via, int, int | None]]:
    return [(use.text, use.via, use.stage, use.location.line) for use in found.bases]


def sources(found: Needs) -> list[tuple[str, ...]]:
    return [read.sources for read in found.reads]


# --- FROM ---------------------------------------------------------------------------------------


def test_from_is_expanded_from_the_args_before_it() -> None:
    text = """\
        ARG V=1
        ARG REPO=acme/base-$V
        FROM ${REPO}:${TAG:-latest} AS one
        ARG V=2
        FROM one
        FROM scratch
        FROM b-$TARGETARCH:$V
        """
    bases = froms(read(text), {"V": "3"})
    assert [(stage, base.text, base.location.line) for stage, base in enumerate(bases)] == [
        (0, "acme/base-3:latest", 3),
        (1, None, 5),
        (2, None, 6),
        (3, "b-amd64:3", 7),
    ]


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("ARG TAG\nFROM a:$TAG\n", 2, "${TAG}, which has no value", "pass the build arg TAG"),
        ("FROM a:$TAG\n", 1, "${TAG}, which has no value", "before the first FROM"),
        ("FROM a\nARG TAG=1\nFROM b:$TAG\n", 3, "${TAG}", "before the first FROM"),
        ("ARG E=\nFROM $E\n", 2, "comes to nothing", "name an image"),
        ("FROM ${X:?say}\n", 1, "X: say", "give X a value"),
        ("ARG A=${B\nFROM a\n", 1, '"}" is missing', ""),
        ("FROM a AS build\nFROM Build\n", 2, "case counts here", "FROM build"),
        ("FROM --platform=$P a\n", 1, "${P}, which has no value", ""),
        ("FROM --platform=linux/a/b/c a\n", 1, "is no platform", "linux/amd64"),
        ("FROM --platform=linx a\n", 1, "no operating system", 'did you mean "linux"'),
    ],
)
def test_a_from_that_cannot_be_expanded_is_refused(
    text: str, line: int, message: str, hint: str
) -> None:
    for error in (refused(text), _refused_name(text)):
        assert error.where == Location("Dockerfile", line)
        assert message in error.message
        assert hint in (error.hint or "")


def _refused_name(text: str) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        froms(read(text), {})
    return caught.value


def froms(dockerfile: Dockerfile, build_args: Mapping[str, str]) -> tuple[StageBase, ...]:
    """The expanded FROM of each stage, which needs only the ARGs before the first of them."""
    args = global_args(dockerfile, build_args, "linux/amd64", "linux/amd64")
    return bases_of(dockerfile, args)


def test_a_stage_can_have_the_name_of_its_image() -> None:
    assert uses(needs("FROM alpine AS alpine\nFROM alpine\n")) == [("alpine", Via.FROM, 0, 1)]


def test_of_two_stages_of_one_name_from_means_the_one_above() -> None:
    found = needs("FROM a AS x\nFROM x AS x\nFROM b\nFROM x\nFROM x AS x\n")
    assert found.stages == (0, 1, 4)


def test_a_number_in_from_is_an_image() -> None:
    assert uses(needs("FROM a\nFROM 0\n")) == [("0", Via.FROM, 1, 2)]


# --- stages and targets -------------------------------------------------------------------------

MANY = """\
    FROM a AS one
    RUN --mount=type=bind,from=tools,target=/t x
    FROM b AS two
    COPY --from=one /x /
    FROM c AS unused
    COPY big /
    FROM two
    COPY --from=0 /x /
    COPY --from=image:1 /y /
    COPY --from=image:1 /z /
    """


def test_only_what_the_target_needs_is_walked() -> None:
    found = needs(MANY)
    assert found.target == 3
    assert found.base == "b"
    assert found.stages == (0, 1, 3)
    assert uses(found) == [
        ("a", Via.FROM, 0, 1),
        ("tools", Via.RUN, 0, 2),
        ("b", Via.FROM, 1, 3),
        ("image:1", Via.COPY, 3, 9),
    ]
    assert found.reads == ()


@pytest.mark.parametrize(
    ("target", "stages"),
    [(None, (0, 1, 3)), ("one", (0,)), ("TWO", (0, 1)), ("unused", (2,)), ("0", (0,))],
)
def test_the_target_is_a_name_or_a_number(target: str | None, stages: tuple[int, ...]) -> None:
    assert needs(MANY, target=target).stages == stages


@pytest.mark.parametrize("target", ["tow", "9", ""])
def test_a_target_that_is_no_stage_is_refused(target: str) -> None:
    error = refused(MANY, target=target)
    assert error.message == f'there is no stage "{target}"'
    assert "two" in (error.hint or "")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("FROM a AS x\nCOPY --from=x /a /b\n", 2, 'the stage "x" is this stage itself'),
        ("FROM a AS x\nCOPY --from=y /a /b\nFROM x AS y\n", 2, 'the stage "y" is below'),
        ("FROM a\nCOPY --from=0 /a /b\n", 2, 'the stage "0" is this stage itself'),
        ("FROM a\nCOPY --from=7 /a /b\n", 2, "there is no stage 7"),
        ("FROM a\nCOPY --from=-1 /a /b\n", 2, "there is no stage -1"),
        ("FROM a\nRUN --mount=from=y,target=/x b\nFROM a AS y\n", 2, 'the stage "y" is below'),
        ("FROM a AS x\nFROM b\nCOPY --from=x / /\nFROM c AS x\n", 3, 'the stage "x" is below'),
    ],
)
def test_a_stage_is_used_only_after_it(text: str, line: int, message: str) -> None:
    error = refused(text, target="1" if line == 3 else "0")
    assert error.where == Location("Dockerfile", line)
    assert message in error.message


def test_from_flags_find_stages_whatever_their_case() -> None:
    text = "FROM a AS one\nFROM b\nCOPY --from=ONE /x /\nRUN --mount=from=One,target=/x y\n"
    assert uses(needs(text)) == [("a", Via.FROM, 0, 1), ("b", Via.FROM, 1, 2)]


def test_scratch_is_no_base() -> None:
    found = needs("FROM scratch\nCOPY --from=scratch / /\nRUN --mount=from=scratch,target=/a b\n")
    assert found.bases == ()
    assert found.base is None
    assert "copy-from-image" not in found.features


def test_a_mount_knows_no_stage_numbers() -> None:
    found = needs("FROM a\nFROM b\nRUN --mount=from=0,target=/x y\n")
    assert uses(found) == [("b", Via.FROM, 1, 2), ("0", Via.RUN, 1, 3)]


# --- variables ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ENV A=1\nLABEL l=$A", "1"),
        ("ENV A=1 B=$A\nLABEL l=x$B", "x"),
        ("ENV A=1\nENV A=2 B=$A\nLABEL l=$B", "1"),
        ("ENV A 1  2\nLABEL l=$A", "1  2"),
        ("ARG A=1\nLABEL l=$A", "1"),
        ("ARG A\nLABEL l=[$A]", "[]"),
        ("ARG A=1\nENV A=2\nLABEL l=$A", "2"),
        ("ENV A=2\nARG A=1\nLABEL l=$A", "1"),
        ("ENV A=2\nARG A\nLABEL l=$A", "2"),
        ("ARG A=1\nARG B=$A$A\nLABEL l=$B", "11"),
        ("LABEL l=$A\nENV A=1", ""),
        ("LABEL l=$G", ""),
        ("ARG G\nLABEL l=$G", "global"),
        ("ARG G=own\nLABEL l=$G", "own"),
        ("ARG GIVEN=no\nLABEL l=$GIVEN", "given"),
        ("LABEL l=$GIVEN", ""),
        ("LABEL l=$PATH", PATH),
        ("ARG TARGETARCH\nLABEL l=$TARGETARCH", "amd64"),
        ("LABEL l=$TARGETARCH", ""),
        ("ARG HTTP_PROXY\nLABEL l=[$HTTP_PROXY]", "[]"),
        ("ARG TARGETSTAGE\nLABEL l=$TARGETSTAGE", "default"),
        ('LABEL l="a $NO b" ', "a  b"),
        ("LABEL l='$G'", "$G"),
        ("LABEL l=1\nLABEL l=2", "2"),
        ("ENV K=l\nLABEL $K=1", "1"),
        ("ARG BUILDKIT_SBOM_SCAN_STAGE=1\nLABEL l=[$BUILDKIT_SBOM_SCAN_STAGE]", "[]"),
    ],
)
def test_variables_have_the_scope_that_buildkit_gives_them(text: str, expected: str) -> None:
    head = "ARG G=global\nFROM scratch\n"
    assert needs(head + text, args={"GIVEN": "given"}).labels == {"l": expected}


def test_a_stage_sees_the_args_of_the_stage_it_starts_from_but_env_first() -> None:
    text = """\
        FROM scratch AS one
        ARG V=7
        ENV E=1
        ARG E=2
        LABEL first=$E
        FROM one
        LABEL v=$V e=$E
        """
    assert needs(text).labels == {"first": "2", "v": "7", "e": "1"}


def test_env_and_labels_come_through_the_chain_of_stages() -> None:
    text = """\
        FROM base AS one
        ENV A=1 B=1
        LABEL a=1 b=1
        FROM scratch AS other
        LABEL no=1
        FROM one
        ENV B=2
        LABEL b=2 c=$A$IN
        """
    base = Inherited(env={"IN": "x", "PATH": "/p"}, labels={"in": "1"}, complete=True)
    found = needs(text, images={"base": base})
    assert found.env == {"IN": "x", "PATH": "/p", "A": "1", "B": "2"}
    assert found.labels == {"in": "1", "a": "1", "b": "2", "c": "1x"}
    lines = {name: place.line for name, place in found.own_labels.items()}
    assert lines == {"a": 3, "b": 8, "c": 8}
    assert found.complete


def test_platform_args_follow_the_platform() -> None:
    text = """\
        FROM scratch
        ARG TARGETPLATFORM
        ARG TARGETOS
        ARG TARGETARCH
        ARG TARGETVARIANT
        ARG BUILDPLATFORM
        LABEL t=$TARGETPLATFORM o=$TARGETOS a=$TARGETARCH v=$TARGETVARIANT b=$BUILDPLATFORM
        """
    arm = needs(text, platform="linux/arm/v7", build_platform="linux/x86_64").labels
    assert arm == {"t": "linux/arm/v7", "o": "linux", "a": "arm", "v": "v7", "b": "linux/amd64"}
    assert needs(text, platform="linux/arm64/v8").labels["t"] == "linux/arm64"
    assert needs(text, platform="linux/arm").labels["v"] == "v7"
    assert needs(text, args={"TARGETARCH": "mine"}).labels["a"] == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LABEL a=${B", '"}" is missing'),
        ("LABEL a=${B:?no}", "B: no"),
        ("ENV A=${B=c}", '"=" is no operator'),
        ("WORKDIR ${A", '"}" is missing'),
        ("EXPOSE ${A", '"}" is missing'),
        ("EXPOSE ${A:?}", "A: is not allowed to be unset"),
        ("USER 'a", "a single quote is not closed"),
        ("COPY a ${B:?}", "B: is not allowed to be unset"),
        ("COPY --chown=${B:?} a b", "B: is not allowed to be unset"),
        ("COPY <<E /x\n${B:?}\nE", "B: is not allowed to be unset"),
        ("RUN --mount=type=bind,source=${B:?},target=/x y", "B: is not allowed to be unset"),
        ("ARG A=1 B=$A", "engines differ"),
        ("COPY https://x/y /z", "cannot take"),
        ("COPY git@github.com:a/b.git /z", "cannot take"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_its_line(text: str, message: str) -> None:
    error = refused(f"FROM scratch\n{text}\n")
    assert error.where == Location("Dockerfile", 2)
    assert message in error.message


def test_a_stage_that_nothing_needs_may_be_wrong() -> None:
    assert needs("FROM scratch\nLABEL a=${B:?}\nFROM scratch\nLABEL a=1\n").labels == {"a": "1"}


# --- below an external image --------------------------------------------------------------------


def test_what_an_external_image_may_set_is_not_guessed() -> None:
    text = """\
        FROM debian
        ENV A=1 PATH=/opt:$PATH D=${X:-d}
        ARG N=$HOME/x
        LABEL known=$A unknown=$HOME asked=${Y:?} derived=$N
        """
    found = needs(text)
    assert found.env == {"A": "1"}
    assert found.unknown == {"PATH", "D"}
    assert not found.complete
    assert found.labels == {
        "known": "1",
        "unknown": "$HOME",
        "asked": "${Y:?}",
        "derived": "$N",
    }


def test_what_is_not_known_becomes_known_when_it_is_set() -> None:
    found = needs("FROM debian\nENV A=$B\nENV A=1\nLABEL a=$A\n")
    assert (found.env, found.unknown, found.labels) == ({"A": "1"}, frozenset(), {"a": "1"})


def test_what_is_not_known_is_handed_on_as_such() -> None:
    parent = image("FROM debian\nENV DIR=$HOME/app KNOWN=conf\n")
    found = needs(
        "FROM app\nCOPY $KNOWN /a\nCOPY $DIR /b\nCOPY $OTHER /c\n", images={"app": parent}
    )
    assert [read.whole for read in found.reads] == [False, True, True]
    assert sources(found) == [("conf",), ("$DIR",), ("$OTHER",)]


def test_an_empty_pattern_is_refused_unless_the_base_may_fill_it() -> None:
    text = "LABEL a=${PATH#$NO}\n"
    assert needs(f"FROM debian\n{text}").labels == {"a": "${PATH#$NO}"}
    assert "the pattern is empty" in refused(f"FROM scratch\n{text}").message


def test_a_name_that_depends_on_an_external_image_is_refused() -> None:
    error = refused("FROM debian\nENV $A=1\n")
    assert error.where == Location("Dockerfile", 2)
    assert "depends on the base image" in error.message


def test_above_scratch_everything_is_known() -> None:
    parent = image("FROM scratch\nENV A=a\n")
    found = needs("FROM app\nCOPY $A$B /x\n", images={"app": parent})
    assert found.complete
    assert found.env == {"PATH": PATH, "A": "a"}
    assert sources(found) == [("a",)]
    assert not found.reads[0].whole


# --- the build context --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected", "whole"),
    [
        ("COPY a b/ /c/", ("a", "b/"), False),
        ("COPY . /c/", (".",), True),
        ("COPY ./ /c/", ("./",), True),
        ("COPY / /c/", ("/",), True),
        ("COPY a/.. /c/", ("a/..",), True),
        ("COPY ./a /c/", ("./a",), False),
        ("COPY * /c/", ("*",), False),
        ('COPY ["a b", "/c/"]', ("a b",), False),
        ("ENV D=x\nCOPY $D/y /c", ("x/y",), False),
        ("ADD a.tar github.com/x /c", ("a.tar", "github.com/x"), False),
        ("ADD ./git@x:y /c", ("./git@x:y",), False),
        ("COPY <<E a /c/\nE", ("a",), False),
        ("RUN --mount=target=/x,source=a b", ("a",), False),
        ("RUN --mount=type=bind,target=/x b", ("",), True),
        ("ENV D=x\nRUN --mount=type=bind,dst=/x,src=$D b", ("x",), False),
        ('RUN --mount=type=bind,dst=/x,\\"src=a,b\\" c', ("a,b",), False),
    ],
)
def test_sources_are_read_from_the_context(
    text: str, expected: tuple[str, ...], *, whole: bool
) -> None:
    (found,) = needs(f"FROM scratch\n{text}\n").reads
    assert found.sources == expected
    assert found.whole is whole


@pytest.mark.parametrize(
    "text",
    [
        "COPY <<E /x\nE",
        "COPY --from=image a b",
        "ADD https://x/y /z",
        "ADD git@github.com:a/b.git /z",
        "RUN --mount=type=cache,target=/x b",
        "RUN --mount=type=tmpfs,target=/x b",
        "RUN --mount=type=secret,id=x b",
        "RUN --mount=type=bind,from=image,target=/x b",
        "RUN a",
        "ONBUILD COPY a b",
    ],
)
def test_other_sources_are_not_read_from_the_context(text: str) -> None:
    assert needs(f"FROM scratch\n{text}\n").reads == ()


def test_a_read_knows_its_excludes_parents_and_place() -> None:
    text = "FROM scratch\nCOPY --parents --exclude=*.o --exclude=$x a b /\nADD --unpack=true c /\n"
    first, second = needs(text).reads
    assert (first.exclude, first.parents) == (("*.o", "$x"), True)
    assert first.via is Via.COPY
    assert first.location == Location("Dockerfile", 2)
    assert (second.via, second.parents, second.location.line) == (Via.ADD, False, 3)


@pytest.mark.parametrize(
    ("source", "git"),
    [
        ("https://x/y.tar.gz", False),
        ("http://x/y?z.git", False),
        ("https://x/y.git", True),
        ("https://x/y.git#v1:sub", True),
        ("https://x/y.git?tag=v1", True),
        ("git://x/y", True),
        ("ssh://git@x/y", True),
        ("git@github.com:a/b", True),
    ],
)
def test_remote_sources_of_add_are_told_apart(source: str, *, git: bool) -> None:
    found = needs(f"FROM scratch\nENV V={source}\nADD $V /x\n")
    assert found.remote == (source,)
    assert found.reads == ()
    assert ("git" in found.features) is git


# --- ONBUILD ------------------------------------------------------------------------------------


def test_triggers_of_the_base_run_first_and_once() -> None:
    base = image(
        """\
        FROM scratch
        ENV V=base
        ONBUILD ARG V=trigger
        ONBUILD COPY $V/ /app/
        ONBUILD RUN --mount=from=tools,target=/t x
        ONBUILD COPY --from=one /x /
        ONBUILD LABEL l=$V
        """
    )
    assert len(base.onbuild) == 5
    text = "FROM scratch AS one\nLABEL z=1\nFROM app\nCOPY own /\nLABEL l2=$V\n"
    found = needs(text, images={"app": base})
    assert found.stages == (0, 1)
    assert uses(found) == [("app", Via.FROM, 1, 3), ("tools", Via.RUN, 1, 3)]
    assert sources(found) == [("trigger/",), ("own",)]
    assert [read.location.line for read in found.reads] == [3, 4]
    assert found.labels == {"l": "trigger", "l2": "trigger"}
    assert found.args == {"V": "trigger"}
    assert found.onbuild == ()


def test_triggers_of_a_stage_of_the_same_file_run_too() -> None:
    text = "FROM scratch AS one\nONBUILD LABEL a=1\nFROM one AS two\nFROM two\nLABEL b=2\n"
    assert needs(text, target="one").labels == {}
    assert needs(text, target="two").labels == {"a": "1"}
    assert [each.source for each in needs(text, target="one").onbuild] == ["LABEL a=1"]
    assert needs(text).onbuild == ()


def test_an_error_in_a_trigger_is_told_at_the_from_that_brings_it() -> None:
    base = image("FROM scratch\nONBUILD COPY --from=nowhere a ${X:?set}\n")
    error = refused("ARG Y\nFROM app\n", images={"app": base})
    assert error.where == Location("Dockerfile", 2)
    assert error.message == "X: set"


# --- args and features --------------------------------------------------------------------------


def test_only_args_that_can_change_the_image_are_told() -> None:
    text = """\
        ARG BASE=debian
        ARG TAG=$BASE-1
        ARG UNUSED=x
        ARG STAGED=s
        FROM image:$TAG AS one
        ARG A
        ARG B=b
        ARG C=$B
        ARG STAGED
        ARG NOVALUE
        FROM other AS unneeded
        ARG D=d
        FROM one
        """
    given = {"A": "1", "D": "2", "UNUSED": "3", "E": "4", "HTTP_PROXY": "http://x"}
    assert needs(text, args=given).args == {
        "BASE": "debian",
        "TAG": "debian-1",
        "A": "1",
        "B": "b",
        "C": "b",
        "STAGED": "s",
    }


def test_args_that_buildkit_reads_by_itself_are_told() -> None:
    read = {"SOURCE_DATE_EPOCH": "0", "BUILDKIT_SANDBOX_HOSTNAME": "h"}
    assert needs("FROM scratch\n", args={**read, "BUILDKIT_INLINE_CACHE": "1"}).args == read


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("RUN a", ""),
        ("RUN <<E\nE", "heredoc"),
        ("COPY <<E /x\nE", "heredoc"),
        ("ONBUILD RUN <<E\nE", "heredoc"),
        ("RUN --mount=type=cache,target=/x a", "mount"),
        ("RUN --mount=type=secret,id=x a", "mount secret"),
        ("RUN --mount=type=ssh a", "mount ssh"),
        ("RUN --network=none a", "network"),
        ("RUN --security=sandbox a", "security"),
        ("RUN --device=x/y=z a", "device"),
        ("COPY --chmod=755 a b", "chmod"),
        ("COPY --link a b", "link"),
        ("COPY --parents a b", "parents"),
        ("COPY --exclude=x a b", "exclude"),
        ("COPY --chown=a a b", ""),
        ("COPY --from=image a b", "copy-from-image"),
        ("ADD --checksum=sha256:x https://x/y z", "checksum"),
        ("ADD --keep-git-dir=true https://x/y.git z", "keep-git-dir git"),
        ("ADD --unpack a b", "unpack"),
        ("HEALTHCHECK --start-interval=1s CMD a", "healthcheck-start-interval"),
        ("FROM --platform=linux/arm64 x", "platform"),
    ],
)
def test_features_are_what_an_engine_has_to_know(text: str, features: str) -> None:
    assert needs(f"FROM scratch\n{text}\n").features == frozenset(features.split())


@pytest.mark.parametrize(
    ("syntax", "other"),
    [
        ("docker/dockerfile:1", False),
        ("docker/dockerfile:1.7-labs", False),
        ("docker/dockerfile", False),
        ("docker.io/docker/dockerfile:1.4@sha256:" + "0" * 64, False),
        ("docker/dockerfile-upstream:master", False),
        ("docker/dockerfile:2", True),
        ("acme/frontend:1", True),
        ("docker/dockerfile-x", True),
    ],
)
def test_a_syntax_line_is_a_feature_if_it_names_another_frontend(
    syntax: str, *, other: bool
) -> None:
    assert ("syntax" in needs(f"# syntax={syntax}\nFROM scratch\n").features) is other
    given = {"BUILDKIT_SYNTAX": syntax}
    assert ("syntax" in needs("FROM scratch\n", args=given).features) is other


# --- mounts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mount", "message", "hint"),
    [
        ("tpye=bind", '--mount has no field "tpye"', 'did you mean "type"'),
        ("type=bnd", 'type="bnd" is not possible', 'did you mean "bind"'),
        ("target", '"target" has no value', "target=value"),
        ("type=cache,target=/x,sharing=all", 'sharing="all" is not possible', "shared"),
        ("target=/x,ro=yes", 'readonly="yes" is not possible', ""),
        ("target=/x,mode=755", 'a bind mount cannot have "mode"', ""),
        ("type=cache,target=/x,mode=9", 'mode="9" is no number', ""),
        ("type=tmpfs,target=/x,size=big", 'size="big" is no size', "64m"),
        ("target=/x,required", 'a bind mount cannot have "required"', ""),
        ("target=/x,sharing=locked", 'a bind mount cannot have "sharing"', ""),
        ("type=secret", 'a secret needs an "id"', "id=name"),
        ("type=secret,id=a,source=b", 'either "source" or "id"', ""),
        ("type=secret,id=a,from=b", 'a secret mount cannot have "from"', ""),
        ("", '--mount has no field ""', ""),
        ("target=/x,", '--mount has no field ""', ""),
        ('target=/x,source=a\\"b', "stray quote", "quote a whole field"),
    ],
)
def test_a_mount_that_makes_no_sense_is_refused(mount: str, message: str, hint: str) -> None:
    error = refused(f"FROM scratch\nRUN --mount={mount} a\n")
    assert error.where == Location("Dockerfile", 2)
    assert message in error.message
    assert hint in (error.hint or "")


def test_nothing_that_is_handed_on_holds_lone_surrogates() -> None:
    data = (
        b"FROM a\xff\nLABEL \xe9=\xe9\nENV A=\xe9\nARG B=\xe9\nCOPY \xe9 /x\nADD http://x/\xe9 /\n"
    )
    found = evaluate(parse(data, "D"), build_args={}, inherited=lambda _: None)
    assert repr(found).encode()
    assert found.labels == {"\ufffd": "\ufffd"}
