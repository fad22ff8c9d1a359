"""Decisions as a plan has them, with what a test does not care about filled in."""

from __future__ import annotations

from builder.core.plan import Action, Assemble, Block, Build, Decision, Retag, Reuse
from builder.core.reference import Reference

DIGEST = "sha256:d"


def decision(
    name: str,
    *parents: str,
    action: Action = Action.BUILD,
    optional: bool = False,
    selected: bool = True,
    reasons: tuple[str, ...] = (),
    repository: str = "",
    tag: str = "1",
    key: str = "",
) -> Decision:
    common = {
        "image": name,
        "optional": optional,
        "selected": selected,
        "reasons": reasons,
        "repository": Reference.parse(repository or name),
        "tag": tag,
        "key": key,
    }
    match action:
        case Action.REUSE:
            return Reuse(reference=f"{name}@{DIGEST}", **common)  # type: ignore[arg-type]
        case Action.RETAG:
            return Retag(reference=f"{name}@{DIGEST}", digest=DIGEST, **common)  # type: ignore[arg-type]
        case Action.BLOCKED:
            return Block(by="another", **common)  # type: ignore[arg-type]
        case Action.ASSEMBLE:
            return Assemble(above=parents, **common)  # type: ignore[arg-type]
    return Build(above=parents, **common)  # type: ignore[arg-type]
