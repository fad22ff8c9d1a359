"""A tree in the shape of the 2016 OpenContrail container repository, with all of its oddities.

Written from the published facts about that repository: names, FROM lines, levels and junk files are
as they were; the RUN lines are short stand-ins that keep every odd construct of the originals.
"""

from __future__ import annotations

from pathlib import Path

NAMESPACE = "michaelhenkel"
CONTRAIL_TAG = "3.0.1-e24cc66"

BUILD_TOML = """\
[project]
namespace = "michaelhenkel"
registry = "local"

[groups.common]
path = "container/common/1.0"
version = "1.0"
tag = "{version}"

[groups.opencontrail]
path = "container/opencontrail/3.0.1/e24cc66"
version = "3.0.1"
commit = "e24cc66"

[groups.openstack]
path = "container/openstack/liberty"
version = "liberty"
tag = "{version}"
"""

COMMON = {
    "alpine": "alpine:3.1",
    "cassandra": "cassandra:2.1.13",
    "libvirt": "ubuntu:14.04.3",
    "redis": "debian:wheezy",
    "zookeeper": "java:openjdk-8-jre",
}
CONTRAIL_ROOTS = {
    "analytics": "ubuntu:14.04.3",
    "config": "ubuntu:14.04.3",
    "control": "ubuntu:14.04.3",
    "nodemgr": "ubuntu:14.04.3",
    "ifmap": "ubuntu:14.04.3",
    "vrouter-agent": "ubuntu:14.04.3",
    "webui": "ubuntu:14.04",
    "opencontrail-docker-libnetwork": "ubuntu:14.04",
}
CONTRAIL_CHILDREN = {
    "analytics": ("alarm", "api", "collector", "query", "snmp", "topology"),
    "config": ("api", "device-manager", "discovery", "schema", "svc-monitor"),
    "control": ("control", "dns", "named"),
    "nodemgr": ("config",),
    "webui": ("job", "server"),
}
OPENSTACK_ON_BASE = (
    "cinder",
    "glance",
    "horizon",
    "keystone",
    "neutron-server",
    "nova",
    "nova-compute",
)
OPENSTACK_CHILDREN = {
    "cinder": ("api", "scheduler"),
    "glance": ("api", "registry"),
    "nova": ("api", "cert", "conductor", "consoleauth", "novncproxy", "scheduler"),
}
IMAGES = 48  # 49 Dockerfiles: one lies a level above its group
EDGES = 34

LEAF = """\
FROM {base}
MAINTAINER Michael Henkel <mhenkel@example.org>
LABEL net.juniper.{kind}={group}
LABEL net.juniper.node=controller
ENV DEBIAN_FRONTEND noninteractive
COPY entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["/usr/bin/{name}", "--nodaemon"]
"""
ROOT = """\
FROM {base}
MAINTAINER Michael Henkel <mhenkel@example.org>
RUN apt-get update && \\   \n\
    apt-get install -y \\\n\
# what the sub-images share
    curl \\\n\
\n\
    supervisor
COPY openstack-config /usr/local/bin/
CMD ['/bin/sh']
"""


def write_seed(root: Path) -> Path:
    """Write the whole tree with its build.toml below ``root``."""
    _write(root / "build.toml", BUILD_TOML)
    common = root / "container/common/1.0"
    for name, base in COMMON.items():
        _leaf(common / name, base, "common", name)
    dockerfile = common / "zookeeper/Dockerfile"
    _write(dockerfile, "# runs under supervisord, with kafka\n" + dockerfile.read_text())
    _contrail(root / "container/opencontrail/3.0.1")
    _openstack(root / "container/openstack/liberty")
    return root


def _contrail(version: Path) -> None:
    commit = version / "e24cc66"
    for name, base in CONTRAIL_ROOTS.items():
        _root(commit / name, base)
    for group, children in CONTRAIL_CHILDREN.items():
        for child in children:
            base = f"{NAMESPACE}/{group}:{CONTRAIL_TAG}"
            _leaf(commit / f"{group}-{child}", base, "contrail", group)
    # One level too high and of the same name as one below the commit.
    _root(version / "opencontrail-docker-libnetwork", "ubuntu:14.04")
    _write(commit / "config/entrypoint.sh", "")
    (commit / "vrouter-agent/.entrypoint.sh.swp").write_bytes(b"b0VIM 7.4\0\xff\xfe")
    _write(commit / "vrouter-agent/rhel-vrouter/README", "a folder without a Dockerfile\n")
    dockerfile = commit / "vrouter-agent/Dockerfile"
    _write(dockerfile, dockerfile.read_text() + "RUN true\n#     contrail-vrouter-init\n")


def _openstack(liberty: Path) -> None:
    _root(liberty / "openstackbase", "ubuntu:14.04.3")
    for name in OPENSTACK_ON_BASE:
        _leaf(liberty / name, f"{NAMESPACE}/openstackbase:liberty", "openstack", name)
    for group, children in OPENSTACK_CHILDREN.items():
        for child in children:
            base = f"{NAMESPACE}/{group}:liberty"
            _leaf(liberty / f"{group}-{child}", base, "openstack", group)
    _write(liberty / "keystone/\\", "")
    _write(liberty / "neutron-server/]", "#!/bin/sh\n")
    _write(liberty / "nova-scheduler/~", "FROM nova\n")
    (liberty / "glance-api/.entrypoint.sh.swp").write_bytes(b"b0VIM 7.4\0")
    for name in ("cinder-api", "cinder-scheduler", "nova-api"):
        _write(liberty / name / "Dockerfile.bak", "FROM muccg/openstackbase:kilo\n")
    _write(liberty / "nova-compute/index.html", "<html></html>\n")
    _write(liberty / "nova-compute/images", "{}\n")
    dockerfile = liberty / "nova-compute/Dockerfile"
    _write(
        dockerfile,
        dockerfile.read_text()
        + "LABEL net.juniper.node=controler\nLABEL net.juniper.node=compute\n"
        + 'VOLUME [ "/var/lib/nova" ]\nRUN uname -r > "/tmp/`hostname`-$(id -u)"\n',
    )


def _leaf(folder: Path, base: str, kind: str, group: str) -> None:
    text = LEAF.format(base=base, kind=kind, group=group, name=folder.name)
    _write(folder / "Dockerfile", text)
    _write(folder / "entrypoint.sh", '#!/bin/sh\nexec "$@"\n')


def _root(folder: Path, base: str) -> None:
    _write(folder / "Dockerfile", ROOT.format(base=base))
    _write(folder / "openstack-config", "#!/bin/sh\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
