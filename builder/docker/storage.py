"""The images that an engine keeps: which of them are ours, which are in use, and their removal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from builder.core.retention import KeptImage
from builder.docker.endpoint import config_dir, find_endpoint
from builder.docker.wire import Wire


class Storage:
    """What one engine keeps."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    @classmethod
    def connect(cls, environ: Mapping[str, str]) -> Storage:
        """The engine that the docker command would use.

        Raises:
            EngineUnavailableError: none answers.

        """
        return cls(
            Wire.open(find_endpoint(environ), config_file=config_dir(environ) / "config.json")
        )

    def labelled(self, label: str) -> tuple[KeptImage, ...]:
        """The images with this label and a tag."""
        api = self._wire.untyped
        with self._wire.errors("cannot list the engine's images"):
            # The SDK has no parameter for shared sizes.
            url = f"{api.base_url}/v{api.api_version}/images/json"
            filters = f'{{"label": ["{label}"], "dangling": ["false"]}}'
            answer = api.get(url, params={"filters": filters, "shared-size": 1})
            answer.raise_for_status()
            used = {one["ImageID"] for one in api.containers(all=True)}
        return tuple(_kept(found, used) for found in answer.json())

    def remove(self, tag: str) -> bool:
        """Take a tag away, and with its last one the image; False if a container holds it."""
        from docker.errors import APIError, ImageNotFound  # noqa: PLC0415

        with self._wire.errors(f"cannot remove {tag}"):
            try:
                self._wire.api.remove_image(tag)
            except ImageNotFound:
                return True
            except APIError as error:
                if error.status_code == 409:  # noqa: PLR2004 - conflict: it came into use meanwhile
                    return False
                raise
        return True

    def close(self) -> None:
        self._wire.close()


def _kept(found: Mapping[str, Any], used: set[str]) -> KeptImage:
    shared = max(0, int(found.get("SharedSize") or 0))
    return KeptImage(
        id=found["Id"],
        tags=tuple(found.get("RepoTags") or ()),
        labels=dict(found.get("Labels") or {}),
        made=datetime.fromtimestamp(int(found["Created"]), timezone.utc),
        own=max(0, int(found.get("Size") or 0) - shared),
        in_use=found["Id"] in used,
    )
