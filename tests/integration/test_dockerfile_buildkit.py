"""What we say a Dockerfile yields is what BuildKit makes of it: labels, ENV, triggers, refusals."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from msgspec import Struct

from builder.core.dockerfile.evaluate import evaluate
from builder.core.dockerfile.model import Inherited, Needs
from builder.core.dockerfile.parse import parse
from builder.core.errors import DockerfileError

pytestmark = pytest.mark.engine

REPOSITORY = "ocbuild-test-dockerfile"
GIVEN = {"GIVEN": "from outside", "OVER": "given", "TARGETVARIANT": "v0"}
SEEDS = range(32)

NAMES = ["A", "B", "C", "OVER", "GIVEN", "EMPTY", "NO", "PATH", "TARGETARCH", "FILE", "G"]
PLAIN = [
    "a",
    "b.c",
    "x/y",
    "é",
    "-",
    ".",
    "/",
    ":",
    "%",
    "#",
    "*",
    "?",
    "=",
    "@",
    "<",
    "+",
    "{",
    "}",
]
QUOTING = [
    '"a b"',
    "'a b'",
    '"it\'s"',
    "'$A'",
    '"$A $B"',
    "''",
    '""',
    '"\\"q\\""',
    '"a\\nb"',
    "\\$A",
]
OPERATORS = [":-", "-", ":+", "+", "#", "##", "%", "%%", "/", "//"]
PATTERNS = ["*", "?", "a", "*.", ".*", "a*", "*/", "b.c", "\\*", "[a]", "(", "^", "a|b"]
BROKEN = ["${A", "${", "${}", "${:x}", "${A:=b}", "${A^}", "${NO:?x}", "${A#a", "${A/b}", '"', "'"]


class Source:
    """Draws the parts of Dockerfiles."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - test data, no secrets
        self.escape = self.dice.choice("\\\\\\`")

    def reference(self) -> str:
        name = self.dice.choice(NAMES)
        form = self.dice.choice(["plain", "braces", "braces", "operator", "operator", "operator"])
        if form != "operator":
            return f"${name}" if form == "plain" else f"${{{name}}}"
        operator = self.dice.choice(OPERATORS)
        if operator in ("/", "//"):
            return f"${{{name}{operator}{self.dice.choice(PATTERNS)}/{self.dice.choice(PLAIN)}}}"
        if operator[0] in "#%":
            return f"${{{name}{operator}{self.dice.choice(PATTERNS)}}}"
        word = self.reference() if self.dice.random() < 0.3 else self.dice.choice(PLAIN)
        return f"${{{name}{operator}{word}}}"

    def value(self) -> str:
        parts = [
            self.reference() if self.dice.random() < 0.5 else self.dice.choice(PLAIN + QUOTING)
            for _ in range(self.dice.randint(1, 4))
        ]
        return "".join(parts).replace("\\", self.escape)

    def gap(self) -> str:
        """White space, or a continuation with all that may stand in it."""
        blanks = self.dice.choice(["", " ", "\t "])
        continued = f" {self.escape}{blanks}\n"
        noise = self.dice.choice(["", "# comment\n", "  # comment\n", "\n", "   \n"])
        return self.dice.choice([" ", " ", "  ", "\t", f"{continued}{noise}  "])

    def assignments(self, keyword: str, names: list[str]) -> str:
        return keyword + "".join(f"{self.gap()}{name}={self.value()}" for name in names)

    def line(self, number: int) -> str:
        names = self.dice.sample(NAMES[:6], self.dice.randint(1, 2))
        kind = self.dice.choice(
            ["LABEL", "LABEL", "LABEL", "ENV", "ARG", "old", "document", "bare"]
        )
        if kind == "LABEL":
            return self.assignments("LABEL", [f"l{number}", f"m{number}"])
        if kind == "ENV":
            return self.assignments("ENV", names)
        if kind == "ARG":
            return f"ARG{self.gap()}{names[0]}={self.value()}"
        if kind == "old":
            return f"{self.dice.choice(['ENV A', 'ENV B', f'LABEL o{number}'])} {self.value()} z"
        if kind == "document":
            return f"COPY{self.gap()}<<-EOF /x{number}\n\tLABEL no=$A {self.escape}\n\tEOF"
        return f"ARG {self.dice.choice(NAMES)}"

    def lines(self, count: int) -> list[str]:
        """Lines that we can read; what we refuse is tried in a test of its own."""
        found: list[str] = []
        while len(found) < count:
            line = self.line(len(found))
            if isinstance(result(self.file([*found, line])), Needs):
                found.append(line)
        return found

    def file(self, lines: list[str], base: str = "scratch") -> bytes:
        start = "FILE=archive.tar.gz PATTERN=x"
        head = [f"# escape={self.escape}"] if self.escape == "`" else []
        text = [*head, "ARG G=global", f"FROM {base}", f"ENV {start} EMPTY=", *lines, ""]
        return "\n".join(text).encode()


class Built(Struct, frozen=True, kw_only=True):
    labels: Mapping[str, str]
    env: list[str]
    onbuild: list[str]


def result(data: bytes, images: Mapping[str, Inherited] | None = None) -> Needs | DockerfileError:
    try:
        dockerfile = parse(data, "Dockerfile")
        return evaluate(dockerfile, build_args=GIVEN, inherited=(images or {}).get)
    except DockerfileError as error:
        return error


def needs(data: bytes, images: Mapping[str, Inherited] | None = None) -> Needs:
    found = result(data, images)
    assert isinstance(found, Needs), str(found)
    return found


class Engine:
    """Builds with the BuildKit of the Docker Engine and looks at what came out."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tags: list[str] = []

    def try_build(self, data: bytes, tag: str) -> subprocess.CompletedProcess[str]:
        self._root.mkdir(exist_ok=True)
        (self._root / "Dockerfile").write_bytes(data)
        given = [f"--build-arg={name}={value}" for name, value in GIVEN.items()]
        command = ["docker", "buildx", "build", "--builder", "default", "--provenance=false"]
        command += [*given, "--quiet", "--load", "--tag", tag, str(self._root)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)

    def build(self, data: bytes, name: str) -> Built:
        tag = f"{REPOSITORY}:{name}"
        done = self.try_build(data, tag)
        assert done.returncode == 0, f"{data.decode()}\n{done.stderr}"
        self._tags.append(tag)
        inspect = ["docker", "inspect", "--format", "{{json .Config}}", tag]
        output = subprocess.run(inspect, check=True, capture_output=True, text=True).stdout
        config = json.loads(output)
        return Built(
            labels=config.get("Labels") or {},
            env=config.get("Env") or [],
            onbuild=config.get("OnBuild") or [],
        )

    def remove(self) -> None:
        if self._tags:
            command = ["docker", "rmi", "--force", *self._tags]
            subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    found = Engine(tmp_path / "context")
    yield found
    found.remove()


def assert_same(found: Needs, built: Built, data: bytes) -> None:
    assert found.labels == built.labels, data.decode()
    assert [f"{name}={value}" for name, value in found.env.items()] == built.env or (
        sorted(f"{name}={value}" for name, value in found.env.items()) == sorted(built.env)
    ), data.decode()
    assert [each.source for each in found.onbuild] == built.onbuild, data.decode()


def test_generated_files_yield_what_buildkit_makes_of_them(engine: Engine) -> None:
    compared = 0
    for seed in SEEDS:
        source = Source(seed)
        data = source.file(source.lines(24))
        built = engine.build(data, f"single-{seed}")
        assert_same(needs(data), built, data)
        compared += len(built.labels)
    assert compared > 500, compared


def test_stages_hand_on_what_buildkit_hands_on(engine: Engine) -> None:
    for seed in SEEDS[:8]:
        source = Source(1000 + seed)
        head = source.file(source.lines(6)).replace(b"FROM scratch", b"FROM scratch AS one")
        tail = "\n".join(["FROM one", *source.lines(6), "COPY --from=ONE /x /", ""])
        data = b"\n".join([head, b"COPY <<EOF /x", b"EOF", tail.encode()])
        found = result(data)
        if isinstance(found, Needs):
            assert_same(found, engine.build(data, f"stages-{seed}"), data)


def test_triggers_do_what_buildkit_does(engine: Engine) -> None:
    for seed in SEEDS[:8]:
        source = Source(2000 + seed)
        source.escape = "\\"
        # Older engines lose the body of a here-document in a trigger.
        triggers = [f"ONBUILD {line}" for line in source.lines(9) if "<<" not in line]
        base_data = source.file([*triggers, "LABEL base=1"])
        base, name = needs(base_data), f"{REPOSITORY}:base-{seed}"
        assert_same(base, engine.build(base_data, f"base-{seed}"), base_data)
        child_data = source.file(source.lines(4), name)
        found = result(child_data, {name: base.inherited})
        if isinstance(found, Needs):
            assert_same(found, engine.build(child_data, f"child-{seed}"), child_data)


ODDITIES = [
    b"\xef\xbb\xbfFROM scratch\r\nENV A=1 \\\r\n\r\n# c\r\n B=2\r\nLABEL a=$A b=$B\r\n",
    b"FROM scratch\nLABEL a=caf\xe9 b='\xff\xfe' c=ok\nENV X=\xe9\n",
    b"# escape is `\nFROM scratch\nLABEL a=1 \\ \t\n  # c\n\n   b=2\n# d\nLABEL c=3",
    b"# escape=`\nFROM scratch\nENV A=C:\\dir B=x`\n  C=`$A\nLABEL a=\"$A\\\" b='`' c=$C d=a` b\n",
    b"FROM scratch\nLABEL a 1  2 \nLABEL \"b c\"=d 'e'=f\nLABEL a=b=c d=\nENV A b=c d\n",
    b"FROM scratch\nMAINTAINER x\nCMD ['a']\nLABEL a=\"multi \\\nline\" b=two\\ words\n",
    b"from scratch as Base\nlabel a=1\nFrom base\nLaBeL b=2\n",
    b"\\\nFROM scratch\nLABEL a=1\\\n2\n",
    b"ARG A=x\nARG B=$A-y\nFROM scratch\nARG B\nARG A=own\nLABEL a=$A b=$B\n",
    b"FROM scratch\nENV A=1\nARG A=2\nLABEL a=$A\nENV A=3\nLABEL b=$A\n",
    b"FROM scratch AS a\nARG V=7\nENV E=1\nARG E=2\nFROM a\nLABEL v=$V e=$E\n",
    b"FROM scratch AS x\nLABEL a=1\nFROM x AS x\nLABEL b=2\nFROM x\nLABEL c=3\n",
    b"FROM scratch AS x\nONBUILD LABEL a=1\nFROM x\nLABEL b=2\n",
    b"FROM scratch\nARG TARGETOS\nARG TARGETVARIANT\nLABEL p=$TARGETOS-$TARGETVARIANT\n",
    b"FROM scratch\nARG OVER=d\nARG GIVEN\nLABEL o=$OVER g=$GIVEN path=$PATH\n",
    b"FROM scratch\nCOPY <<A <<'B' /d/\n$X \"q\" \\\nA\n${\nB\nLABEL a=1\n",
]


@pytest.mark.parametrize("data", ODDITIES)
def test_odd_files_yield_what_buildkit_makes_of_them(engine: Engine, data: bytes) -> None:
    assert_same(needs(data), engine.build(data, f"odd-{ODDITIES.index(data)}"), data)


@pytest.mark.parametrize("broken", BROKEN)
def test_values_that_we_refuse_are_refused_by_buildkit(engine: Engine, broken: str) -> None:
    for seed in range(2):
        source = Source(3000 + seed)
        data = source.file([f"LABEL l={source.value()}{broken}"])
        assert isinstance(result(data), DockerfileError)
        assert_refused(engine, data)


def assert_refused(engine: Engine, data: bytes) -> None:
    done = engine.try_build(data, f"{REPOSITORY}:refused")
    assert done.returncode != 0, data.decode()
    # BuildKit refuses in one of two ways, depending on which of its halves finds the mistake.
    assert re.search("failed to (solve|run Build function)", done.stderr), done.stderr


@pytest.mark.parametrize(
    "data",
    [
        b"FROM scratch\nLABEL a=${B:?no}\n",
        b"FROM scratch\nLABEL a\n",
        b"FROM scratch\nLABEL a=1 b\n",
        b"FROM scratch\nCOPY --from=7 a b\n",
        b"FROM scratch AS a\nCOPY --from=a a b\n",
        b"FROM scratch AS a\nCOPY --from=b a b\nFROM scratch AS b\nFROM a\n",
        b"FROM scratch\nCOPY <<E /x\n",
        b"FROM scratch\nCOPY a\n",
        b"FROM scratch\nRUNN x\n",
        b"FROM scratch\nONBUILD FROM x\n",
        b"FROM scratch\nCOPY --frm=x a b\n",
        b"FROM scratch AS 1a\nLABEL a=1\n",
        b"LABEL a=1\nFROM scratch\n",
        b"FROM scratch AS low\nFROM Low\nLABEL a=1\n",
        b"ARG X\nFROM $X\n",
        b"# escape=x\nFROM scratch\n",
        b"# escape=`\n# escape=`\nFROM scratch\n",
        b"FROM scratch\nRUN --mount=type=bind,from=$X,target=/x y\n",
        b"FROM scratch\nHEALTHCHECK NONE x\n",
        b"FROM scratch\nSHELL a\n",
        b"FROM scratch\nCMD [1]\n",
        b"",
        b"# nothing\n",
    ],
)
def test_files_that_we_refuse_are_refused_by_buildkit(engine: Engine, data: bytes) -> None:
    assert isinstance(result(data), DockerfileError)
    assert_refused(engine, data)
