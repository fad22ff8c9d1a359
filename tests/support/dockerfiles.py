"""Generates Dockerfiles without RUN, odd bases for them, and a context: seeded, never the same."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path

PASSWD = "root:x:0:0::/root:/bin/sh\nu:x:1000:1001::/home/u:/bin/sh\nnobody:x:65534:65533::/:/x\n"
GROUP = "root:x:0:\nmail:x:8:\nstaff:x:50:u\nu:x:1001:\n"
# kind, path, mode, uid, gid, content or target
ROOTFS: list[tuple[str, str, int, int, int, str]] = [
    ("dir", "usr", 0o755, 0, 0, ""),
    ("dir", "usr/lib", 0o755, 0, 0, ""),
    ("file", "usr/lib/libc.so", 0o644, 0, 0, "libc"),
    ("link", "usr/lib/libc.so.6", 0o777, 0, 0, "libc.so"),
    ("dir", "usr/bin", 0o755, 0, 0, ""),
    ("file", "usr/bin/tool", 0o4755, 0, 50, "tool"),
    ("link", "lib", 0o777, 0, 0, "usr/lib"),
    ("link", "bin", 0o777, 0, 0, "usr/bin"),
    ("dir", "run", 0o755, 0, 0, ""),
    ("dir", "run/lock", 0o1777, 0, 0, ""),
    ("dir", "var", 0o755, 0, 0, ""),
    ("link", "var/run", 0o777, 0, 0, "/run"),
    ("link", "var/lock", 0o777, 0, 0, "/run/lock"),
    ("dir", "var/mail", 0o2775, 0, 8, ""),
    ("dir", "var/lib", 0o755, 0, 0, ""),
    ("dir", "var/lib/data", 0o700, 33, 34, ""),
    ("dir", "tmp", 0o1777, 0, 0, ""),
    ("dir", "home", 0o755, 0, 0, ""),
    ("dir", "home/u", 0o750, 1000, 1001, ""),
    ("file", "home/u/.profile", 0o640, 1000, 1001, "profile"),
    ("dir", "etc", 0o755, 0, 0, ""),
    ("file", "etc/passwd", 0o644, 0, 0, PASSWD),
    ("file", "etc/group", 0o644, 0, 0, GROUP),
    ("file", "etc/issue", 0o600, 5, 6, "issue\n"),
    ("link", "etc/issue.link", 0o777, 0, 0, "issue"),
    ("link", "etc/f", 0o777, 0, 0, "issue"),
    ("link", "dangling", 0o777, 0, 0, "/nowhere/deep"),
    ("link", "a", 0o777, 0, 0, "b"),
    ("link", "b", 0o777, 0, 0, "opt"),
    ("link", "abs", 0o777, 0, 0, "/abs2"),
    ("link", "abs2", 0o777, 0, 0, "/opt"),
    ("link", "circle", 0o777, 0, 0, "circle"),
    ("dir", "opt", 0o711, 7, 7, ""),
    ("dir", "opt/d", 0o700, 9, 9, ""),
    ("dir", "opt/gone", 0o755, 0, 0, ""),
    ("file", "opt/gone/x", 0o644, 0, 0, "x"),
    ("dir", "opt/emptied", 0o750, 3, 3, ""),
    ("file", "opt/emptied/x", 0o644, 0, 0, "x"),
    ("dir", "twins", 0o755, 0, 0, ""),
    ("file", "twins/one", 0o640, 4, 5, "twin"),
    ("hard", "twins/two", 0o640, 4, 5, "twins/one"),
    ("dir", "twins/deep", 0o755, 0, 0, ""),
    ("hard", "twins/deep/three", 0o640, 4, 5, "twins/one"),
    ("dir", "caps", 0o755, 0, 0, ""),
    ("capable", "caps/ping", 0o755, 0, 0, "ping"),
    ("capable", "caps/all", 0o750, 2, 3, "all"),
]
# As the kernel keeps them: cap_net_raw, and all of them, both effective; the latter is no UTF-8.
_CAPABILITIES = {
    "caps/ping": bytes.fromhex("0100000200200000000000000000000000000000"),
    "caps/all": bytes.fromhex("01000002ffffffff00000000ff01000000000000"),
}
_KINDS = {
    "dir": tarfile.DIRTYPE,
    "file": tarfile.REGTYPE,
    "capable": tarfile.REGTYPE,
    "link": tarfile.SYMTYPE,
    "hard": tarfile.LNKTYPE,
}
CONFIG = """\
ENV PATH=/opt/bin:/bin A=1 OWNER=u DEST=/opt/dest EMPTY=
WORKDIR /srv/app
USER u
LABEL one=1 two=2
ENTRYPOINT ["/entry"]
CMD ["a", "b"]
EXPOSE 80 443/tcp
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --retries=2 CMD probe --now
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
"""
TRIGGERS = "ONBUILD COPY f /from-trigger/\nONBUILD ENV T=$A\nONBUILD WORKDIR /trig\n"


def rootfs() -> bytes:
    return pack(ROOTFS)


def make_context(folder: Path) -> Path:
    """A folder with files of all sorts; some are ignored."""
    files = {
        "f": (0o644, "f\n"),
        "exec.sh": (0o755, "#!/bin/sh\n"),
        "setuid": (0o4711, "s"),
        "a.txt": (0o600, "a"),
        "b.txt": (0o664, "b" * 3000),
        "empty": (0o644, ""),
        "é û": (0o644, "accents"),
        "d/f": (0o644, "d/f"),
        "d/sub/g": (0o640, "g"),
        "d/sub/deep/h": (0o644, "h"),
        "d/skip.o": (0o644, "o"),
        "d/" + "n" * 120: (0o644, "long"),
        "e/issue": (0o644, "another issue"),
        "e/d/inner": (0o644, "inner"),
        "etc/issue": (0o640, "third issue"),
        "etc/app/conf": (0o644, "conf"),
        "passwd": (0o644, "u:x:77:78::/:/x\n"),
        "secret": (0o644, "no"),
    }
    for path, (mode, text) in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(mode)
    for name, data in archives().items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o640)
    (folder / "d/sub").chmod(0o2750)
    (folder / "e/d").chmod(0o1777)
    (folder / "none").mkdir()
    (folder / "link").symlink_to("f")
    (folder / "dirlink").symlink_to("d/sub")
    (folder / "d/broken").symlink_to("/no/where")
    (folder / "d/uplink").symlink_to("../f")
    (folder / ".dockerignore").write_text("secret\n**/*.o\n# no\nd/nothing\n", encoding="utf-8")
    return folder


def archives() -> dict[str, bytes]:
    """Files that ADD unpacks, and some that only look like it."""
    entries = [
        ("dir", "new", 0o750, 11, 12, ""),
        ("file", "new/file", 0o4640, 13, 14, "new"),
        ("link", "new/up", 0o777, 1, 2, "../x"),
        ("file", "implied/deep/file", 0o600, 0, 0, "deep"),
        ("dir", "opt", 0o700, 21, 22, ""),
        ("file", "opt/d", 0o644, 0, 0, "no folder"),
        ("file", "f", 0o444, 5, 5, "from the archive"),
    ]
    plain = pack(entries[:4])
    return {
        "plain.tar": plain,
        "packed.tgz": gzip.compress(pack([("dir", ".", 0o700, 9, 9, ""), *entries[:5]]), mtime=0),
        "old.tar.bz2": bz2.compress(pack([*entries[:3], entries[-1]], tarfile.GNU_FORMAT)),
        "etc.tar": pack([("dir", "etc", 0o711, 1, 1, ""), ("file", "etc/issue", 0o644, 0, 0, "?")]),
        "lib.tar": pack([("dir", "lib", 0o755, 0, 0, ""), ("file", "lib/x", 0o644, 0, 0, "lib")]),
        "through.tar": pack([("file", "lib/x", 0o644, 0, 0, "through a link")]),
        "folder.tar": pack(entries[4:6]),
        "text.gz": gzip.compress(b"no archive", mtime=0),
        "packed.xz": lzma.compress(plain),
        "cut.tar": plain[:1100],
    }


def pack(
    entries: Sequence[tuple[str, str, int, int, int, str]], form: int = tarfile.PAX_FORMAT
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for kind, path, mode, uid, gid, text in entries:
            member = tarfile.TarInfo(path)
            member.type, member.mode, member.uid, member.gid = _KINDS[kind], mode, uid, gid
            if kind in ("link", "hard"):
                member.linkname = text
            if kind == "capable":
                value = _CAPABILITIES[path].decode("utf-8", "surrogateescape")
                member.pax_headers = {"SCHILY.xattr.security.capability": value}
            data = text.encode() if kind in ("file", "capable") else b""
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


_ARCHIVES = [
    *("plain.tar", "packed.tgz", "packed.tgz", "old.tar.bz2", "etc.tar", "etc.tar", "lib.tar", "f"),
    *("through.tar", "folder.tar", "text.gz", "packed.xz", "cut.tar", "plain.tar f"),
]
_SOURCES = [
    *("f", "exec.sh", "setuid", "d", "d/", "d/sub", "*.txt", "nomatch*", "link", "dirlink", "a*"),
    *("f", "f", "exec.sh", "d", "*.txt", "a.txt", "d/sub", "d/[fs]*", "d*", "[de]"),
    *("f exec.sh", "./f", "?.txt", "[ab].txt", "d/s*", "e", "etc", "none", ".", "empty", "d/u*"),
    *("f d", "a.txt b.txt", "/f", "d/sub/../f", "passwd", "e/d", "d/sub/deep", "e/*"),
]
_TARGETS = [
    *("/", "/x", "/x/", "/opt/new/", "/opt/new/file", "/etc", "/etc/", "/etc/issue", "/lib/y"),
    *("/lib/", "/var/run/z/", "/var/run/app.pid", "/tmp/", "/tmp/q", "/home/u/", "/home/u/f"),
    *("/var/mail/box/", "/var/mail/m/n", "/dangling", "/dangling/x", "/etc/issue.link", "/a/x"),
    *(".", "./", "rel", "rel/", "sub/..", "/x/.", "/x/../y", "/opt/./z/", "$DEST", "${NO:-/d}/"),
    *("/usr/bin/tool", "/bin/tool", "/opt/d/", "/opt/gone/", "/opt/emptied/", "/var/lib/data/n/"),
    *("/abs/x", "/circle/x", "/etc/issue/x", "/var/lock/l", "/a", "/opt/", "/é/", "/etc/passwd"),
    *("/x", "/y", "/opt/new/", "/tmp/", "/lib/", "rel/", "/home/u/", "/z/a/", "/z/b/"),
    *("/opt", "/opt/d", "/srv/app", "/usr/lib/libc.so.6", "/proc/x", "/dev/x", "/nowhere/deep/"),
]
_OWNERS = [
    *("", "", "", "", "1000", "1000:1001", "u", "u:staff", "nobody", "ghost", "0:mail", ":mail"),
    *("root", "u:77", "$OWNER", "ghost:staff", "u:", "12:ghost", "70000:3000000"),
]
_MODES = ["", "", "", "755", "0600", "4755", "1777", "0"]
_FROM_SOURCES = [
    "/etc/issue",
    "/usr",
    "/etc/*",
    "/home/u",
    "/lib/",
    "/var/run",
    "/opt",
    "/e*/f",
    "/e*",
    "/u*",
    "/caps",
    "/caps/ping",
    "/caps/*",
    "/caps",
    "/caps/all",
    "/twins/one",
    "/twins/two",
    "/twins/t*",
    "/twins/deep",
    "/twins",
]
_VALUES = ["v", '"two words"', "'$A'", "$A", "${A}b", "${NO:-x}", "${PATH}:/y", '""', "é"]
_CONFIGS = [
    "ENV {name}={value}",
    "ENV {name}={value} C=$A",
    "ENV {name} old {value}",
    "ARG {name}={value}",
    "ARG G",
    "ARG TARGETARCH",
    "LABEL {name}={value} l.$A={value}",
    "CMD run {value}",
    'CMD ["x", "$A"]',
    "CMD []",
    "ENTRYPOINT start {value}",
    'ENTRYPOINT ["/e", "-x"]',
    "ENTRYPOINT []",
    "USER u",
    "USER ${{OWNER:-0}}",
    "USER 1000:50",
    "USER ghost",
    "EXPOSE 8080",
    "EXPOSE 53/udp 7000-7003 $NO",
    "VOLUME /v /w",
    'VOLUME ["/v v", "$A"]',
    "STOPSIGNAL 9",
    "STOPSIGNAL SIGQUIT",
    "HEALTHCHECK NONE",
    "HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=0s CMD curl -f $A",
    'HEALTHCHECK --retries=3 CMD ["probe", "x"]',
    'SHELL ["/bin/ash", "-c"]',
    "MAINTAINER a person <p@example.org>",
    "ONBUILD COPY f /later/",
    "ONBUILD ENV Z={value}",
    "WORKDIR /made/by/workdir",
    "WORKDIR rel",
    "WORKDIR /tmp",
    "WORKDIR /var/run/w",
    "WORKDIR /var/mail/w",
    "WORKDIR ..",
    "WORKDIR $DEST",
    "WORKDIR /",
    "WORKDIR /lib/w",
]


class Generator:
    """Draws one Dockerfile; ``bases`` are names of images to start from and to copy from."""

    def __init__(self, seed: int, bases: list[str]) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - test data, no secrets
        self._bases = bases

    def dockerfile(self) -> str:
        lines = ["ARG G=global"]
        stages = self._dice.choice([1, 1, 1, 2, 2, 3])
        for number in range(stages):
            base = self._dice.choice([*self._bases, *self._bases, *self._bases, "scratch"])
            if number and self._dice.random() < 0.3:
                base = f"s{number - 1}"
            lines.append(f"FROM {self._platform()}{base} AS s{number}")
            for _ in range(self._dice.randint(1, 5)):
                lines.extend(self._instruction(number))
            if number and number == stages - 1:
                lines.append(self._copy(f"--from=s{number - 1} ", self._source_of_stage()))
        head = ["# escape=`"] if self._dice.random() < 0.1 else []
        return "\n".join([*head, *lines, ""])

    def _instruction(self, stage: int) -> list[str]:
        kind = self._dice.random()
        if kind < 0.45:
            return [self._copy("", self._dice.choice(_SOURCES))]
        if kind < 0.49:
            source = self._dice.choice(_ARCHIVES)
            # Where an archive may well be unpacked; at most of the others something is in the way.
            target = self._dice.choice(["/", "/", "/x/", "/opt/new/", "/z", *_TARGETS[:20]])
            target = target if " " not in source or target.endswith("/") else f"{target}/"
            flag = self._dice.choice(["", "", "", "", "", "", "--chown=3:4 "])
            return [f"ADD {flag}{source} {target}"]
        if kind < 0.54:
            name = self._dice.choice(["DOC", "'DOC'", "-DOC"])
            return [self._copy("", f"<<{name}"), "a $A ${NO:-x}", "\ttabbed", "DOC"]
        if kind < 0.56:
            origin = self._dice.choice(self._bases)
            return [self._copy(f"--from={origin} ", self._dice.choice(_FROM_SOURCES))]
        if kind < 0.6 and stage:
            return [self._copy(f"--from=s{stage - 1} ", self._source_of_stage())]
        text = self._dice.choice(_CONFIGS)
        name = self._dice.choice(["A", "B", "DEST", "PATH", "OWNER"])
        value = self._dice.choice(_VALUES)
        if name == "OWNER":
            value = self._dice.choice(["u", "staff", "12"])
        if name == "DEST":
            value = self._dice.choice(["/opt/other", "/etc", "/srv/t"])
        return [text.format(name=name, value=value)]

    def _platform(self) -> str:
        if self._dice.random() < 0.9:
            return ""
        text = self._dice.choice(["$BUILDPLATFORM", "${TARGETPLATFORM}", "linux/amd64", "x86_64"])
        return f"--platform={text} "

    def _source_of_stage(self) -> str:
        return self._dice.choice(["/", "/x", "/opt", "/etc/*", "/e*", "/srv", "/x/*", "/rel"])

    def _copy(self, origin: str, source: str) -> str:
        keyword = "ADD" if self._dice.random() < 0.15 and not origin else "COPY"
        owner, mode = self._dice.choice(_OWNERS), self._dice.choice(_MODES)
        flags = (
            origin + (f"--chown={owner} " if owner else "") + (f"--chmod={mode} " if mode else "")
        )
        if self._dice.random() < 0.1:
            flags += "--link "
        target = self._dice.choice(_TARGETS)
        if " " in source or "*" in source or "<<" in source:
            target = target if target.endswith("/") or target == "." else f"{target}/"
        return f"{keyword} {flags}{source} {target}"
