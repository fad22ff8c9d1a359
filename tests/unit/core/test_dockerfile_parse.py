"""Reading the bytes of a Dockerfile: lines, directives, here-documents, words, flags."""

from __future__ import annotations

import pytest

from builder.core.dockerfile.evaluate import evaluate
from builder.core.dockerfile.model import (
    BaseUse,
    Dockerfile,
    Flag,
    Heredoc,
    Instruction,
    Needs,
    Via,
)
from builder.core.dockerfile.parse import parse, renamed
from builder.core.errors import DockerfileError, Location

ONE = "FROM debian\n"


def read(text: str) -> Dockerfile:
    return parse(text.encode(), "Dockerfile")


def only(text: str) -> Instruction:
    """The one instruction after FROM."""
    (stage,) = read(ONE + text).stages
    (instruction,) = stage.instructions
    return instruction


def refused(data: bytes | str) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        parse(data if isinstance(data, bytes) else data.encode(), "Dockerfile")
    return caught.value


ARGUMENTS = [
    ("RUN a  b", ("a  b",), False),
    ("RUN", (), False),
    ('RUN ["a", "b c"]', ("a", "b c"), True),
    ("RUN ['a']", ("['a']",), False),
    ("RUN [ -f x ] && y", ("[ -f x ] && y",), False),
    ("RUN [NaN]", ("[NaN]",), False),
    ("CMD ['/bin/sh']", ("['/bin/sh']",), False),
    ('CMD [ "a" ,\t"b" ] ', ("a", "b"), True),
    ("CMD []", (), True),
    ('CMD ["\\u00e9\\"\\\\"]', ('é"\\',), True),
    ("ENTRYPOINT exec top -b", ("exec top -b",), False),
    ('SHELL ["/bin/bash", "-c"]', ("/bin/bash", "-c"), True),
    ("COPY a b\t c/", ("a", "b", "c/"), False),
    ('COPY ["a b", "c/"]', ("a b", "c/"), True),
    ("COPY 'a b' c", ("'a", "b'", "c"), False),
    ("ADD https://x/y.tar /z", ("https://x/y.tar", "/z"), False),
    ("EXPOSE 80 443/tcp", ("80", "443/tcp"), False),
    ('VOLUME [ "/a", "/b" ]', ("/a", "/b"), True),
    ("VOLUME /a /b", ("/a", "/b"), False),
    ("WORKDIR /a b", ("/a b",), False),
    ("USER  a:b ", ("a:b",), False),
    ("STOPSIGNAL SIGINT", ("SIGINT",), False),
    ("MAINTAINER A B <c@d>", ("A B <c@d>",), False),
    ("HEALTHCHECK NONE", ("NONE",), False),
    ("HEALTHCHECK CMD curl -f x || exit 1", ("CMD", "curl -f x || exit 1"), False),
    ('HEALTHCHECK cmd ["curl", "x"]', ("cmd", "curl", "x"), True),
    ("ARG A", ("A",), False),
    ('ARG A=1 B C="x y"', ("A=1", "B", 'C="x y"'), False),
    ("ENV A=1", ("A=1",), False),
    (r'ENV A="1 2" B=3\ 4 C=', ('A="1 2"', r"B=3\ 4", "C="), False),
    ("ENV A='1 \"2' B=\"it's\"", ("A='1 \"2'", 'B="it\'s"'), False),
    ("ENV A=a=b", ("A=a=b",), False),
    ("LABEL a.b=c", ("a.b=c",), False),
    ('LABEL "a b"=c', ('"a b"=c',), False),
    ("run echo", ("echo",), False),
    ("\t RuN echo", ("echo",), False),
]


@pytest.mark.parametrize(("text", "words", "json"), ARGUMENTS)
def test_arguments_are_split_as_each_instruction_wants(
    text: str, *, words: tuple[str, ...], json: bool
) -> None:
    instruction = only(text)
    assert instruction.arguments == words
    assert instruction.json is json
    assert instruction.keyword == text.split(maxsplit=1)[0].upper()


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("ENV A 1 2  3", "A=1 2  3"),
        ('ENV A "1" B=2', 'A="1" B=2'),
        ("LABEL\ta  b=c", "a=b=c"),
    ],
)
def test_the_old_form_of_a_pair_goes_to_the_end_of_the_line(text: str, pair: str) -> None:
    instruction = only(text)
    assert instruction.arguments == (pair,)
    assert instruction.legacy


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        ("COPY --from=x a b", [("from", "x")], ("a", "b")),
        ("COPY --link a b", [("link", None)], ("a", "b")),
        ("COPY --link=FALSE a b", [("link", "FALSE")], ("a", "b")),
        ("COPY --exclude=a --exclude=b c d", [("exclude", "a"), ("exclude", "b")], ("c", "d")),
        ('COPY --chown="a b" c d', [("chown", "a b")], ("c", "d")),
        ("COPY --chown='a'\"b\" c d", [("chown", "ab")], ("c", "d")),
        (r"COPY --chown=a\ b c d", [("chown", "a b")], ("c", "d")),
        (r"COPY --chown='it\'s' c d", [("chown", "it's")], ("c", "d")),
        ("COPY -- --a b", [], ("--a", "b")),
        ("COPY --from=x -- --a b", [("from", "x")], ("--a", "b")),
        ("RUN --mount=type=tmpfs,target=/a --mount=type=cache,target=/b c --d", None, ("c --d",)),
        ("RUN --network=none --security=insecure a", None, ("a",)),
        ("HEALTHCHECK --interval=1m30s --retries=3 CMD a", None, ("CMD", "a")),
        ("HEALTHCHECK --interval=5s NONE", None, ("NONE",)),
    ],
)
def test_flags_stand_between_keyword_and_arguments(
    text: str, flags: list[tuple[str, str | None]] | None, words: tuple[str, ...]
) -> None:
    instruction = only(text)
    assert instruction.arguments == words
    if flags is not None:
        assert instruction.flags == tuple(Flag(name=name, value=value) for name, value in flags)


def test_lines_are_counted_and_joined() -> None:
    (stage,) = read(
        "# comment\n\nFROM debian\nRUN a \\\n  # inside\n\n  b \\  \t\n  c\n# after\nUSER x\n"
    ).stages
    run, user = stage.instructions
    assert (stage.line, run.line, run.end_line, user.line, user.end_line) == (3, 4, 8, 10, 10)
    assert run.source == "RUN a   b   c"
    assert run.arguments == ("a   b   c",)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("RUN a\\\nb", "RUN ab"),
        ("RUN a \\", "RUN a"),
        ("RUN a \\\n# end", "RUN a"),
        ("RUN a \\\\\nUSER b", None),
        ("RUN a # b", "RUN a # b"),
        ("RUN a \\\n   # b\n#c\n d", "RUN a  d"),
        ("\\\nRUN a", "RUN a"),
        ("R\\\nUN a", "RUN a"),
        ("RUN a\\ b", "RUN a\\ b"),
        ("RUN a `\n", "RUN a `"),
    ],
)
def test_an_escape_at_the_end_continues_the_line(text: str, source: str | None) -> None:
    instructions = read(ONE + text).stages[0].instructions
    assert [each.source for each in instructions] == (
        [source] if source else ["RUN a \\\\", "USER b"]
    )


@pytest.mark.parametrize(
    ("head", "escape", "syntax", "check"),
    [
        ("", "\\", "", ""),
        ("# escape=`\n", "`", "", ""),
        ("#escape = `  \n", "`", "", ""),
        ("  # ESCAPE=`\n", "`", "", ""),
        ("# syntax=docker/dockerfile:1 more\n", "\\", "docker/dockerfile:1", ""),
        ("# syntax=a/b\n# check=skip=X;error=true\n# escape=`\n", "`", "a/b", "skip=X;error=true"),
        ("# comment\n# escape=`\n", "\\", "", ""),
        ("\n# escape=`\n", "\\", "", ""),
        ("# unknown=x\n# escape=`\n", "\\", "", ""),
        ("#!/usr/bin/env x\n# syntax=a/b\n# escape=`\n", "\\", "a/b", ""),
    ],
)
def test_directives_count_at_the_very_top(head: str, escape: str, syntax: str, check: str) -> None:
    parsed = read(head + ONE)
    assert (parsed.escape, parsed.syntax, parsed.check) == (escape, syntax, check)


def test_the_backtick_continues_lines_where_it_is_the_escape() -> None:
    (stage,) = read("# escape=`\nFROM x\nRUN a `\n b\nCOPY x C:\\\nUSER y\n").stages
    assert [each.source for each in stage.instructions] == ["RUN a  b", "COPY x C:\\", "USER y"]


def test_windows_line_ends_and_a_byte_order_mark_are_nothing() -> None:
    plain = b"# escape=`\nFROM x\nRUN a `\n  b\nENV A=1 B=2\n"
    dressed = b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n")
    assert parse(dressed, "D") == parse(plain, "D")


def test_bytes_that_are_no_utf8_are_kept_apart() -> None:
    first = parse(b"FROM x\nRUN echo \xe9\nLABEL a=\xe9\n# \xff\n", "D")
    second = parse(b"FROM x\nRUN echo \xe8\nLABEL a=\xe9\n", "D")
    run, label = first.stages[0].instructions
    assert run.arguments[0].encode("utf-8", "surrogateescape") == b"echo \xe9"
    assert label.arguments == ("a=\ufffd",)
    assert run != second.stages[0].instructions[0]


def test_stages_have_names_platforms_and_the_args_before_them() -> None:
    parsed = read("ARG V=1\nARG W\nfrom a:$V as Build\nRUN x\nFROM --platform=$P b AS c.d_e-1\n")
    assert [each.arguments for each in parsed.args] == [("V=1",), ("W",)]
    first, second = parsed.stages
    assert (first.index, first.name, first.base, first.platform) == (0, "build", "a:$V", "")
    assert (second.index, second.name, second.base, second.platform) == (1, "c.d_e-1", "b", "$P")
    assert second.instructions == ()


def document(name: str, content: str, *, expand: bool = True, tabs: bool = False) -> Heredoc:
    return Heredoc(name=name, content=content, expand=expand, strip_tabs=tabs)


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("RUN <<EOF\na\nEOF", [document("EOF", "a\n")]),
        ("RUN <<EOF\nEOF", [document("EOF", "")]),
        ("RUN <<'EOF'\n$a\nEOF", [document("EOF", "$a\n", expand=False)]),
        ('RUN <<"E"OF\na\nEOF', [document("EOF", "a\n", expand=False)]),
        ("RUN <<-EOF\n\ta\n\t\tb \t\n\tEOF", [document("EOF", "a\nb \t\n", tabs=True)]),
        ("RUN cat <<A 3<<B > x\na\nA\nb\nB", [document("A", "a\n"), document("B", "b\n")]),
        ("RUN cat << EOF > x\na\nEOF", [document("EOF", "a\n")]),
        ("RUN <<EOF \\\n && x\na\nEOF", [document("EOF", "a\n")]),
        ("RUN <<EOF\na \\\n# b\n\nEOF", [document("EOF", "a \\\n# b\n\n")]),
        ("RUN <<EOF\n EOF\nEOF", [document("EOF", " EOF\n")]),
        ("COPY <<a <<b /x/\n1\na\n2\nb", [document("a", "1\n"), document("b", "2\n")]),
        ("ADD --chmod=644 <<a /x\n1\na", [document("a", "1\n")]),
        ("RUN cat <<<EOF", []),
        ('RUN echo "<<EOF"', []),
        (r"RUN echo \<<EOF", []),
        ("RUN echo it's <<EOF", []),
        ("ENV A=<<EOF", []),
        ("CMD cat <<EOF", []),
        ('RUN ["cat", "<<EOF"]', []),
        ("RUN echo a<<EOF", []),
    ],
)
def test_here_documents_belong_to_run_copy_and_add(text: str, documents: list[Heredoc]) -> None:
    instruction = only(text)
    assert instruction.heredocs == tuple(documents)
    assert instruction.end_line == 2 + text.count("\n")


def test_a_trigger_is_an_instruction_of_its_own() -> None:
    onbuild = only("ONBUILD COPY --chmod=755 <<a . /app/\n1\na\n")
    trigger = onbuild.trigger
    assert trigger is not None
    assert trigger.keyword == "COPY"
    assert trigger.flags == (Flag(name="chmod", value="755"),)
    assert trigger.arguments == ("<<a", ".", "/app/")
    assert trigger.heredocs == (document("a", "1\n"),)
    assert (onbuild.line, onbuild.end_line, trigger.line) == (2, 4, 2)


def test_a_trigger_is_read_with_a_backslash_as_the_image_keeps_no_directive() -> None:
    (stage,) = read("# escape=`\nFROM x\nONBUILD ENV A=a\\ b B=c\n").stages
    trigger = stage.instructions[0].trigger
    assert trigger is not None
    assert trigger.arguments == (r"A=a\ b", "B=c")


REFUSED: list[tuple[str, int, str, str]] = [
    # text after FROM, line, a part of the message, a part of the hint
    ("RUNN a", 2, '"RUNN" is no instruction', 'did you mean "RUN"'),
    ("a && b", 2, '"a" is no instruction', "goes on in the next line"),
    ("RUN <<EOF\na\n", 2, "the here-document <<EOF has no end", 'holds just "EOF"'),
    ("RUN cat <<A <<B\nA\n", 2, "<<B has no end", ""),
    ("COPY a", 2, "COPY has 1 argument", "a source and a destination"),
    ("COPY", 2, "COPY has no argument", "a source and a destination"),
    ('ADD ["a"]', 2, "ADD has 1 argument", ""),
    ("COPY a <<EOF\nEOF", 2, "COPY cannot write to a here-document", "destination"),
    ("COPY << EOF /x\nEOF", 2, "here-documents of COPY are not clear", "one word"),
    ("COPY <<a <<a /x\na\na", 2, "here-documents of COPY are not clear", "its own name"),
    ("COPY --form=x a b", 2, "COPY has no flag --form", 'did you mean "from"'),
    ("COPY --zzz a b", 2, "COPY has no flag --zzz", "--chown"),
    ("ADD --from=x a b", 2, "ADD has no flag --from", ""),
    ("COPY --from a b", 2, "--from has no value", "--from=value"),
    ("COPY --from=a --from=b c d", 2, "COPY has --from twice", ""),
    ("COPY --link=maybe a b", 2, '--link="maybe" is not possible', "true or false"),
    ("COPY --link= a b", 2, '--link="" is not possible', ""),
    ("COPY --chown=é a b", 2, "not ASCII", ""),
    ("COPY --from=$X a b", 2, "cannot stand in --from", "name a stage"),
    ("COPY --from=${X a b", 2, "cannot stand in --from", "name a stage"),
    ("RUN --mount a", 2, "--mount has no value", ""),
    ("RUN --mount=type=bind,from=$X,target=/a b", 2, 'cannot stand in "from"', "name a stage"),
    ("RUN --network=lan a", 2, '--network="lan" is not possible', "default, none, host"),
    ("RUN --security=none a", 2, '--security="none" is not possible', ""),
    ("CMD --a b", 2, "CMD has no flag --a", "takes no flags"),
    ("ENV A", 2, '"A" has no value', "NAME=value"),
    ("ENV", 2, "ENV has no argument", "at least one"),
    ("ENV A=1 B", 2, '"B" is no name=value', "quote"),
    ("ENV A=1 =2", 2, '"=2" has no name', ""),
    ("LABEL =a", 2, '"=a" has no name', ""),
    ("ARG", 2, "ARG has no argument", ""),
    ("ARG =1", 2, '"=1" declares no build arg', "ARG NAME"),
    ("ARG $A=1", 2, '"$A=1" declares no build arg', ""),
    ("EXPOSE", 2, "EXPOSE has no argument", ""),
    ("VOLUME []", 2, "VOLUME has no argument", ""),
    ('VOLUME [" "]', 2, "VOLUME has an empty path", ""),
    ("WORKDIR", 2, "WORKDIR has no argument", "exactly one"),
    ("USER", 2, "USER has no argument", ""),
    ("MAINTAINER", 2, "MAINTAINER has no argument", ""),
    ("SHELL bash -c", 2, "SHELL is no JSON array", '["/bin/bash", "-c"]'),
    ("SHELL []", 2, "SHELL has no argument", ""),
    ("CMD [1]", 2, "no string", ""),
    ('CMD ["a", ["b"]]', 2, "no string", ""),
    ('CMD ["a"] # x', 2, 'text follows the JSON array: "# x"', "engines differ"),
    ("HEALTHCHECK", 2, "HEALTHCHECK has no argument", ""),
    ("HEALTHCHECK CMD", 2, "HEALTHCHECK CMD has no command", ""),
    ("HEALTHCHECK NONE a", 2, "HEALTHCHECK NONE takes no command", ""),
    ("HEALTHCHECK curl x", 2, '"curl" is no health check', "HEALTHCHECK CMD"),
    ("HEALTHCHECK --interval=5 CMD a", 2, '--interval="5" is no duration', "30s"),
    ("HEALTHCHECK --timeout=1us CMD a", 2, '--timeout="1us" is too short', ""),
    ("HEALTHCHECK --retries=-1 CMD a", 2, '--retries="-1" is no number', ""),
    ("ONBUILD", 2, "ONBUILD has no argument", ""),
    ("ONBUILD FROM x", 2, "FROM cannot be a trigger", "remove"),
    ("ONBUILD MAINTAINER x", 2, "MAINTAINER cannot be a trigger", ""),
    ("ONBUILD ONBUILD RUN x", 2, "cannot hold another ONBUILD", ""),
    ("ONBUILD COPY a", 2, "COPY has 1 argument", ""),
    ("ONBUILD RUNN a", 2, '"RUNN" is no instruction', "RUN"),
    ("\nRUN a \\\n b\nFROM", 5, "is no FROM", "FROM image"),
    ("FROM a b", 2, "is no FROM", "AS name"),
    ("FROM a AS", 2, "is no FROM", ""),
    ("FROM a in b", 2, "is no FROM", ""),
    ("FROM a AS 1b", 2, '"1b" is no name for a stage', "starts with a letter"),
    ("FROM --platfrom=x a", 2, "FROM has no flag --platfrom", 'did you mean "platform"'),
    ("\\", 2, '"" is no instruction', ""),
]


@pytest.mark.parametrize(("text", "line", "message", "hint"), REFUSED)
def test_what_cannot_be_understood_is_refused_with_its_line(
    text: str, line: int, message: str, hint: str
) -> None:
    error = refused(ONE + text)
    assert error.where == Location("Dockerfile", line)
    assert message in error.message
    assert hint in (error.hint or "")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "the Dockerfile is empty"),
        ("# only a comment\n\n", None, "holds no instruction"),
        ("ARG A\n", 1, "the Dockerfile has no FROM"),
        ("\nRUN a\nFROM b\n", 2, "RUN stands before the first FROM"),
        ("ARG A\nENV B=1\nFROM b\n", 2, "ENV stands before the first FROM"),
        ("# escape=x\nFROM a\n", 1, '"x" cannot be the escape character'),
        ("# escape=`\n# escape=`\nFROM a\n", 2, 'the directive "escape" is here a second time'),
    ],
)
def test_a_file_that_is_no_dockerfile_is_refused(text: str, line: int | None, message: str) -> None:
    error = refused(text)
    assert error.where == Location("Dockerfile", line)
    assert message in error.message


def test_a_line_that_buildkit_cannot_hold_is_refused() -> None:
    error = refused(b"FROM x\nRUN echo " + b"a" * 70_000)
    assert error.where == Location("Dockerfile", 2)
    assert "at most 65535" in error.message


def test_messages_can_always_be_printed() -> None:
    for data in (b"FROM x\n\xff\xfe y\n", b"FROM x\nENV \xff\n", b"FROM x\nCMD [1] \xff\n"):
        assert str(refused(data)).encode()


# -- other names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM base AS base\nCOPY x /\n", "FROM new AS base\nCOPY x /\n"),
        (
            "from  --platform=linux/arm64 base as Base\n",
            "FROM --platform=linux/arm64 new as Base\n",
        ),
        ("ARG B=b\nFROM ${B} \\\n # why\n AS b\nRUN a\n", "ARG B=b\nFROM new AS b\n\n\nRUN a\n"),
        (
            "FROM scratch AS base\nCOPY --chmod=1 --from=base:latest /base /from=base\n",
            "FROM scratch AS base\nCOPY --chmod=1 --from=new /base /from=base\n",
        ),
        (
            (
                "FROM scratch\nRUN --mount=from=b:1,target=/a \\\n --mount=from=b:1,target=/b <<E\n"
                "from=b:1 \nE\n"
            ),
            (
                "FROM scratch\nRUN --mount=from=new,target=/a \\\n --mount=from=new,target=/b <<E\n"
                "from=b:1 \nE\n"
            ),
        ),
        (
            "FROM scratch\r\nCOPY --from=base:latest a b\r\n",
            "FROM scratch\r\nCOPY --from=new a b\r\n",
        ),
    ],
)
def test_a_base_gets_another_name_and_all_else_stays_in_its_lines(text: str, expected: str) -> None:
    before = parse(text.encode(), "Dockerfile")
    needs = needs_of(before)
    names = {use.text: "new" for use in needs.bases}
    now = renamed(text.encode(), "Dockerfile", needs.bases, names)
    assert now.decode() == expected
    after = parse(now, "Dockerfile")
    assert {use.text for use in needs_of(after).bases} == {"new"}
    assert [stage.line for stage in after.stages] == [stage.line for stage in before.stages]


def needs_of(dockerfile: Dockerfile) -> Needs:
    return evaluate(dockerfile, build_args={}, inherited=lambda _base: None)


def test_a_name_that_is_written_in_another_file_cannot_be_replaced() -> None:
    text = b"FROM base\n"
    use = BaseUse(text="b", via=Via.COPY, stage=0, location=Location("other/Dockerfile", 1))
    with pytest.raises(DockerfileError, match='"b" is the name of a stage and that of an image'):
        renamed(text, "Dockerfile", [use], {"b": "new"})
