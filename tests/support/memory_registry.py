"""A registry in memory that speaks the distribution protocol: for tests that look at its bytes."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import threading
from http import HTTPStatus

from tests.support.web import Asked, Say, Web

_TARGET = re.compile(r"/v2/(?P<path>.+)/(?P<kind>manifests|blobs/uploads|blobs|tags)/(?P<name>.*)")
_PAGE = 1000


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class MemoryRegistry(Web):
    """Repositories of this process; ``tests/contract`` holds it to what a real registry does.

    ``tags`` maps a repository and a tag to a digest, ``manifests`` a repository and a digest to
    media type and bytes, ``blobs`` a repository and a digest to bytes.
    """

    def __init__(self) -> None:
        self.tags: dict[tuple[str, str], str] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.blobs: dict[tuple[str, str], bytes] = {}
        self._uploads = itertools.count(1)
        self._open: set[str] = set()
        self._lock = threading.Lock()
        super().__init__(self._answer)

    def content(self, path: str, tag: str) -> tuple[bytes, bytes]:
        """The manifest under a tag and its only layer, as they are stored."""
        _, manifest = self.manifests[path, self.tags[path, tag]]
        (layer,) = json.loads(manifest)["layers"]
        return manifest, self.blobs[path, layer["digest"]]

    def _answer(self, asked: Asked) -> Say:
        with self._lock:
            if asked.path == "/v2/":
                return _json({})
            if asked.path == "/v2/_catalog":
                return self._list("repositories", sorted({path for path, _ in self.manifests}))
            parts = _TARGET.fullmatch(asked.path)
            if parts is None:
                return _error(HTTPStatus.NOT_FOUND, "UNSUPPORTED")
            answers = {
                "manifests": self._manifest,
                "blobs": self._blob,
                "blobs/uploads": self._upload,
                "tags": self._tags,
            }
            return answers[parts["kind"]](asked, parts["path"], parts["name"])

    def _manifest(self, asked: Asked, path: str, name: str) -> Say:
        if asked.method == "PUT":
            return self._put_manifest(asked, path, name)
        digest = name if ":" in name else self.tags.get((path, name), "")
        stored = self.manifests.get((path, digest))
        if stored is None:
            return _error(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN")
        if asked.method == "DELETE":
            del self.manifests[path, digest]
            self.tags = {
                key: named for key, named in self.tags.items() if (key[0], named) != (path, digest)
            }
            return Say(status=HTTPStatus.ACCEPTED)
        kind, body = stored
        return Say(headers={"Content-Type": kind, "Docker-Content-Digest": digest}, body=body)

    def _put_manifest(self, asked: Asked, path: str, name: str) -> Say:
        document = json.loads(asked.body)
        parts = [*document.get("layers", ()), *filter(None, [document.get("config")])]
        if any((path, part["digest"]) not in self.blobs for part in parts):
            return _error(HTTPStatus.BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN")
        nested = document.get("manifests", ())
        if any((path, part["digest"]) not in self.manifests for part in nested):
            return _error(HTTPStatus.BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN")
        digest = _digest(asked.body)
        if ":" in name and name != digest:
            return _error(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID")
        self.manifests[path, digest] = asked.headers["content-type"], asked.body
        if ":" not in name:
            self.tags[path, name] = digest
        return Say(status=HTTPStatus.CREATED, headers={"Docker-Content-Digest": digest})

    def _blob(self, asked: Asked, path: str, digest: str) -> Say:
        data = self.blobs.get((path, digest))
        if data is None:
            return _error(HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN")
        kind = "application/octet-stream"
        return Say(headers={"Content-Type": kind, "Docker-Content-Digest": digest}, body=data)

    def _upload(self, asked: Asked, path: str, name: str) -> Say:
        if asked.method == "POST":
            return self._start(asked, path)
        if name not in self._open:
            return _error(HTTPStatus.NOT_FOUND, "BLOB_UPLOAD_INVALID")
        self._open.discard(name)
        if asked.method == "DELETE":
            return Say(status=HTTPStatus.NO_CONTENT)
        (digest,) = asked.query["digest"]
        if digest != _digest(asked.body):
            return _error(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID")
        self.blobs[path, digest] = asked.body
        return Say(status=HTTPStatus.CREATED, headers={"Docker-Content-Digest": digest})

    def _start(self, asked: Asked, path: str) -> Say:
        (wanted,), (source,) = asked.query.get("mount", [""]), asked.query.get("from", [""])
        if (source, wanted) in self.blobs:
            self.blobs[path, wanted] = self.blobs[source, wanted]
            return Say(status=HTTPStatus.CREATED, headers={"Docker-Content-Digest": wanted})
        upload = f"upload-{next(self._uploads)}"
        self._open.add(upload)
        headers = {"Location": f"/v2/{path}/blobs/uploads/{upload}?state=1"}
        return Say(status=HTTPStatus.ACCEPTED, headers=headers)

    def _tags(self, _asked: Asked, path: str, _list: str) -> Say:
        if not any(repository == path for repository, _ in (*self.manifests, *self.blobs)):
            return _error(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN")
        return self._list(
            "tags", sorted(tag for repository, tag in self.tags if repository == path)
        )

    @staticmethod
    def _list(key: str, names: list[str]) -> Say:
        assert len(names) < _PAGE, "it has no pages"
        return _json({key: names})


def _json(document: object, status: HTTPStatus = HTTPStatus.OK) -> Say:
    body = json.dumps(document).encode()
    return Say(status=status, headers={"Content-Type": "application/json"}, body=body)


def _error(status: HTTPStatus, code: str) -> Say:
    return _json({"errors": [{"code": code, "message": code.lower(), "detail": {}}]}, status)
