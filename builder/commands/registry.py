"""The command ``registry``: the embedded registry is started, stopped and looked at."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from builder.core.errors import PublishError
from builder.core.options import RegistryOptions
from builder.core.settings.config import DEFAULT_ADDRESS
from builder.registry.embedded import EmbeddedRegistry, Status
from builder.report.streams import print_json
from builder.system.files import state_dir


def registry(options: RegistryOptions, environ: Mapping[str, str]) -> int:
    """Start, stop or look at the embedded registry; ``status`` says 4 where none answers."""
    address = options.address or DEFAULT_ADDRESS
    embedded = EmbeddedRegistry(state=state_dir(environ), address=address)
    acts = {"start": embedded.start, "stop": embedded.stop, "status": embedded.status}
    status = acts[options.action]()
    if options.as_json:
        document = {
            "running": status.running,
            "address": status.address,
            "kind": status.kind.value if status.kind else None,
            "pid": status.pid,
            "data": str(status.data) if status.data else None,
            "log": str(status.log) if status.log else None,
        }
        print_json(document)
    else:
        sys.stdout.write(_status_text(status) + "\n")
    return PublishError.exit_code if options.action == "status" and not status.running else 0


def _status_text(status: Status) -> str:
    if not status.running:
        return f"no registry runs at {status.address}; `ocbuild registry start` starts one"
    kind = status.kind.value if status.kind else "unknown"
    if kind == "foreign":
        return f"a registry that is not ours answers at {status.address}; it is used as it is"
    process = f", process {status.pid}" if status.pid else ""
    return f"registry at {status.address} ({kind}{process}), data in {status.data}"
