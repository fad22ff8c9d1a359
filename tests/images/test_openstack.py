"""Keystone, started from its published image with a database beside it, gives a token."""

from __future__ import annotations

import pytest

from tests.support.containers import Containers
from tests.support.identity import Identity

pytestmark = pytest.mark.images


def test_keystone_gives_a_token(containers: Containers) -> None:
    identity = Identity(containers)
    identity.mariadb.wait_healthy()
    identity.start_keystone().wait_healthy()
    assert len(identity.show("token", "issue")["id"]) > 100
