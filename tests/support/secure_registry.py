"""Real registries on the loopback that want TLS, a token, or to send readers elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from tests.support.certificates import Certificate
from tests.support.registry import LocalRegistry
from tests.support.token_server import ISSUER, SERVICE


class Tokens(Struct, frozen=True, kw_only=True):
    """Where tokens are made, and the certificate of the key that signs them."""

    realm: str
    certificate: Path


class SecureRegistry(LocalRegistry):
    """A LocalRegistry with more of the program's own abilities.

    ``tls`` is its certificate. ``tokens`` say where to get them. ``storage`` is an address at which
    the files in ``data`` can be read; readers of blobs are redirected there.
    """

    def __init__(
        self,
        *,
        login: bool = False,
        tls: Certificate | None = None,
        tokens: Tokens | None = None,
        storage: str | None = None,
    ) -> None:
        super().__init__(login=login)
        self._tls = tls
        self._tokens = tokens
        self._storage = storage

    @property
    def data(self) -> Path:
        assert self._folder is not None
        return self._folder / "data"

    def _config(self, folder: Path) -> str:
        # A mapping in JSON is one in YAML, too; the last lines of the base's are the http section.
        before, _, after = super()._config(folder).partition("http: ")
        http: dict[str, object] = {"addr": self.address, "secret": "tests"}
        if self._tls is not None:
            http["tls"] = {"certificate": str(self._tls.certificate), "key": str(self._tls.key)}
        _, _, rest = after.partition("\n")
        sections: dict[str, Mapping[str, object]] = {"http": http}
        if self._tokens is not None:
            sections["auth"] = {
                "token": {
                    "realm": self._tokens.realm,
                    "service": SERVICE,
                    "issuer": ISSUER,
                    "rootcertbundle": str(self._tokens.certificate),
                }
            }
        if self._storage is not None:
            redirect = {"name": "redirect", "options": {"baseurl": self._storage}}
            sections["middleware"] = {"storage": [redirect]}
        more = "".join(f"{name}: {json.dumps(content)}\n" for name, content in sections.items())
        return before + more + rest
