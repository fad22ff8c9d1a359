"""What holds for every Dockerfile: layout is not meaning, and no input breaks the reader."""

from __future__ import annotations

import string

from hypothesis import example, given, settings, strategies as st
from msgspec.structs import replace

from builder.core.dockerfile.evaluate import evaluate
from builder.core.dockerfile.model import Dockerfile, Instruction, Needs
from builder.core.dockerfile.parse import parse
from builder.core.dockerfile.stages import bases_of, global_args
from builder.core.dockerfile.words import Expansion, WordError, expand, expand_words
from builder.core.errors import DockerfileError

WORDS = st.sampled_from(
    [
        *("a", "b/c", "A=1", 'B="x y"', "'q'", "$A", "${A:-z}", "--link", "--from=x", "[", '["a"]'),
        *(
            "é",
            "&&",
            ";",
            "<",
            "=",
            "x#y",
            "100%",
            "/dst/",
            ".",
            "https://x/y",
            "--",
            "NONE",
            "CMD",
        ),
    ]
)
KEYWORDS = st.sampled_from(
    [
        *("RUN", "COPY", "ADD", "ENV", "LABEL", "ARG", "CMD", "ENTRYPOINT", "EXPOSE", "VOLUME"),
        *("WORKDIR", "USER", "ONBUILD RUN", "ONBUILD COPY", "HEALTHCHECK CMD", "run", "FROM"),
    ]
)


def _readable(words: list[str]) -> bool:
    try:
        parse(b"FROM x\n" + " ".join(words).encode(), "D")
    except DockerfileError:
        return False
    return True


LINES = st.builds(
    lambda keyword, words: [*keyword.split(), *words],
    KEYWORDS,
    st.lists(WORDS, min_size=1, max_size=4),
).filter(_readable)
FILES = st.lists(LINES, min_size=1, max_size=6).map(lambda lines: [["FROM", "x"], *lines])
NOISE = st.lists(
    st.sampled_from(["", "   ", "\t", "# comment", "  # comment \\", "#", "#a=b"]), max_size=3
)


def text_of(lines: list[list[str]]) -> str:
    return "".join(" ".join(words) + "\n" for words in lines)


def meaning(dockerfile: Dockerfile) -> object:
    """All but where it stands."""

    def plain(instruction: Instruction) -> Instruction:
        trigger = instruction.trigger
        return replace(
            instruction, line=0, end_line=0, trigger=None if trigger is None else plain(trigger)
        )

    return (
        [plain(each) for each in dockerfile.args],
        [
            replace(stage, line=0, instructions=tuple(map(plain, stage.instructions)))
            for stage in dockerfile.stages
        ],
    )


@given(lines=FILES, data=st.data())
def test_comments_and_blank_lines_change_nothing(
    lines: list[list[str]], data: st.DataObject
) -> None:
    noisy: list[str] = ["# first"]
    for words in lines:
        noisy += data.draw(NOISE)
        for word in words[:-1]:
            noisy.append(f"{word} \\" + data.draw(st.sampled_from(["", " ", "\t "])))
            noisy += data.draw(NOISE)
        noisy.append(words[-1])
    noisy += data.draw(NOISE)
    found = parse("\n".join(noisy).encode(), "D")
    assert meaning(found) == meaning(parse(text_of(lines).encode(), "D"))


@given(lines=FILES)
def test_line_ends_change_nothing(lines: list[list[str]]) -> None:
    text = text_of(lines)
    assert parse(text.replace("\n", "\r\n").encode(), "D") == parse(text.encode(), "D")


@given(lines=FILES, cuts=st.lists(st.booleans(), min_size=36, max_size=36))
def test_either_escape_character_splits_lines(lines: list[list[str]], cuts: list[bool]) -> None:
    def split(escape: str) -> bytes:
        cut = iter(cuts)
        rows = (
            "".join(f" {escape}\n{word}" if next(cut) else f" {word}" for word in words)
            for words in lines
        )
        return f"# escape={escape}\n{chr(10).join(rows)}\n".encode()

    assert meaning(parse(split("\\"), "D")) == meaning(parse(split("`"), "D"))


@given(lines=FILES)
def test_the_lines_of_an_instruction_hold_its_source(lines: list[list[str]]) -> None:
    text = "".join(" \\\n\n# c\n".join(words) + "\n\n" for words in lines)
    rows = text.split("\n")
    end = 0
    for stage in parse(text.encode(), "D").stages:
        assert stage.line > end
        end = max(end, stage.line)
        for instruction in stage.instructions:
            assert end < instruction.line <= instruction.end_line
            end = instruction.end_line
            covered = rows[instruction.line - 1 : end]
            kept = [row.rstrip("\\") for row in covered if row and not row.startswith("#")]
            assert "".join(kept).strip() == instruction.source


TOKENS = st.sampled_from(
    [
        *(
            "FROM x\n",
            "FROM x AS y\n",
            "RUN ",
            "COPY ",
            "ENV ",
            "ONBUILD ",
            "ARG A=1\n",
            "HEALTHCHECK ",
        ),
        *(
            "<<EOF",
            "<<-'E'",
            "EOF\n",
            "\n",
            "\r\n",
            "\\\n",
            "`\n",
            "# escape=`\n",
            "#",
            "[",
            '["a"]',
        ),
        *('"', "'", "$", "${", "}", "--", "--mount=", "--from=", "type=bind", ",", "=", " ", "\t"),
        *(
            "\x00",
            "\x85",
            "\xa0",
            "\ufeff",
            "a",
            "é",
            "[[[[",
            "LABEL a=",
            "--platform=",
            ":-",
            "#*",
            "//",
        ),
    ]
)
ANYTHING = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=60).map(lambda data: b"FROM x\n" + data),
    st.lists(TOKENS, max_size=30).map(lambda tokens: "".join(tokens).encode()),
    st.lists(TOKENS, max_size=30).map(lambda tokens: ("FROM x\n" + "".join(tokens)).encode()),
)


def outcome(data: bytes) -> Needs | DockerfileError:
    try:
        dockerfile = parse(data, "D")
        bases_of(dockerfile, global_args(dockerfile, {}, "linux/amd64", "linux/amd64"))
        return evaluate(dockerfile, build_args={"A": "1"}, inherited=lambda _: None)
    except DockerfileError as error:
        return error


@settings(max_examples=300)
@given(data=ANYTHING)
@example(data=b"FROM x\nCMD " + b"[" * 3000)
@example(data=b"FROM x\nRUN \xff\xfe <<\xff\n\xff\n")
@example(data=b"FROM x\nENV A=" + b"${A:-" * 5000)
@example(data=b"FROM x\nRUN <<A" + b"${A:-" * 5000)
@example(data=b"\xef\xbb\xbf")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    found = outcome(data)
    if isinstance(found, DockerfileError):
        assert found.where is not None
        assert str(found).encode()
    else:
        assert found.target in found.stages
        handed_on = "".join([*found.labels, *found.labels.values(), *found.env.values()])
        assert handed_on.encode("utf-8", "replace").decode() == handed_on


@given(text=st.text(st.characters(exclude_characters="$'\"\\", exclude_categories=["Cs"])))
def test_plain_text_expands_to_itself(text: str) -> None:
    assert expand(text, {"a": "b"}).text == text
    if text.isascii():
        split = expand_words(text, {}).words
        assert "".join(split) == "".join(text.translate(str.maketrans("", "", "\t\n\v\f\r ")))


@given(value=st.text(max_size=20), name=st.text(string.ascii_letters + "_", min_size=1, max_size=8))
def test_a_variable_stands_for_its_value_and_is_not_expanded_again(value: str, name: str) -> None:
    env = {name: value}
    clean = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if clean == value:
        assert expand(f"${name}", env).text == value
        assert expand(f"${{{name}}}", env).text == value
        assert expand(f'"${name}"', env).text == value
        assert expand(f"${{{name}-x}}", env).text == value
        assert expand(f"${{{name}:-{name}}}", env).text == (value or name)
        assert expand(f"${{{name}##}}${{{name}%%}}", env).text == value * 2


@given(
    value=st.text(st.sampled_from("ab./"), max_size=12),
    pattern=st.text("ab.*?", min_size=1, max_size=4),
)
def test_prefix_and_suffix_patterns_cut_what_they_match(value: str, pattern: str) -> None:
    env = {"v": value}
    for operator in ("#", "##"):
        assert value.endswith(expand(f"${{v{operator}{pattern}}}", env).text)
    for operator in ("%", "%%"):
        assert value.startswith(expand(f"${{v{operator}{pattern}}}", env).text)
    assert len(expand(f"${{v##{pattern}}}", env).text) <= len(expand(f"${{v#{pattern}}}", env).text)
    assert len(expand(f"${{v%%{pattern}}}", env).text) <= len(expand(f"${{v%{pattern}}}", env).text)


def expansion(text: str, escape: str) -> Expansion | WordError:
    try:
        return expand(text, {"a": "x y", "b": ""}, escape)
    except WordError as error:
        return error


@given(
    text=st.text(st.sampled_from("ab$ {}'\"\\`:-+?#%/*.<"), max_size=16),
    escape=st.sampled_from("\\`"),
)
def test_expansion_fails_only_in_its_own_way(text: str, escape: str) -> None:
    found = expansion(text, escape)
    if isinstance(found, WordError):
        assert found.message
    else:
        assert found.blank <= found.unset <= found.read
