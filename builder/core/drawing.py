"""The graph as text: a tree for people, JSON for scripts, DOT and Mermaid for pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from builder.core.graph import ImageGraph


def as_json(graph: ImageGraph, names: Sequence[str], tags: Mapping[str, str]) -> dict[str, object]:
    """The contract of ``ocbuild graph --format json``."""
    images = {name: graph[name] for name in names}
    return {
        "images": {
            name: {
                "dir": image.source.directory,
                "group": image.group,
                "ref": str(image.repository),
                "tag": tags[name],
                "parents": list(image.parents),
                "external": list(image.external),
                "level": image.level,
                "labels": dict(image.needs.labels),
            }
            for name, image in images.items()
        },
        "order": list(names),
        "external": sorted({text for image in images.values() for text in image.external}),
    }


def as_tree(graph: ImageGraph, names: Sequence[str]) -> str:
    """One line per image below what it starts from; external bases are the roots.

    An image with several parents stands below the first of them and names the others.
    """
    below: dict[str, list[str]] = {}
    for name in names:
        below.setdefault(_first_parent(graph, name), []).append(name)
    roots = sorted(set(below) - set(names))
    lines: list[str] = []
    for root in roots:
        lines.append(root)
        lines.extend(_branches(graph, root, below, ""))
    return "\n".join(lines) + "\n" if lines else ""


def _first_parent(graph: ImageGraph, name: str) -> str:
    image = graph[name]
    base = image.base
    if base is None:
        return "(scratch)"
    return image.links.get(base, f"({base})")


def _branches(
    graph: ImageGraph, parent: str, below: Mapping[str, Sequence[str]], indent: str
) -> Iterator[str]:
    todo = [(child, indent, child == below[parent][-1]) for child in below.get(parent, ())]
    todo.reverse()
    while todo:
        name, prefix, last = todo.pop()
        image = graph[name]
        base = image.base
        others = [p for p in image.parents if base is None or p != image.links.get(base)]
        others += [text for text in image.external if text != base]
        suffix = f"  (also from {', '.join(others)})" if others else ""
        yield f"{prefix}{'└── ' if last else '├── '}{name}{suffix}"
        children = below.get(name, ())
        deeper = prefix + ("    " if last else "│   ")
        todo.extend((child, deeper, child == children[-1]) for child in reversed(children))


def as_dot(graph: ImageGraph, names: Sequence[str]) -> str:
    """Graphviz source: one cluster per group, dashed boxes for external bases.

    Dotted arrows, which do not shape the picture, are those that others imply.
    """
    lines = ["digraph images {", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
    groups = sorted({graph[name].group for name in names})
    for number, group in enumerate(groups):
        lines.append(f"  subgraph cluster_{number} {{")
        lines.append(f"    label={_quoted(group)};")
        lines.extend(f"    {_quoted(name)};" for name in names if graph[name].group == group)
        lines.append("  }")
    externals = sorted({text for name in names for text in graph[name].external})
    lines.extend(f"  {_quoted(text)} [style=dashed];" for text in externals)
    edges = list(_edges(graph, names))
    implied = _implied(edges)
    for base, name in edges:
        style = " [style=dotted, constraint=false]" if (base, name) in implied else ""
        lines.append(f"  {_quoted(base)} -> {_quoted(name)}{style};")
    lines.append("}")
    return "\n".join(lines) + "\n"


def as_mermaid(graph: ImageGraph, names: Sequence[str]) -> str:
    """A Mermaid flow chart, as GitHub and GitLab render it in Markdown; dotted arrows as in DOT."""
    edges = list(_edges(graph, names))
    implied = _implied(edges)
    nodes = sorted({*names, *(base for base, _ in edges)})
    ids = {node: f"n{number}" for number, node in enumerate(nodes)}
    lines = ["graph LR"]
    lines.extend(f'  {ids[node]}["{node}"]' for node in nodes)
    for base, name in edges:
        arrow = "-.->" if (base, name) in implied else "-->"
        lines.append(f"  {ids[base]} {arrow} {ids[name]}")
    return "\n".join(lines) + "\n"


def _edges(graph: ImageGraph, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        image = graph[name]
        for base in (*image.parents, *image.external):
            yield base, name


def _implied(edges: Sequence[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """The edges that a longer way says as well: all that a transitive reduction takes out."""
    import networkx as nx  # noqa: PLC0415 - 90 ms that only a drawing should pay

    graph: nx.DiGraph[str] = nx.DiGraph(edges)
    return frozenset(edges) - frozenset(nx.transitive_reduction(graph).edges)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
