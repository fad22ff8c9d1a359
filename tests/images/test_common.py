"""The services of common/ answer a real client, each started from its published image alone."""

from __future__ import annotations

import pytest

from tests.support.containers import Containers

pytestmark = pytest.mark.images


def test_redis_keeps_what_it_is_told_and_wants_its_password(containers: Containers) -> None:
    redis = containers.start("redis", env={"REDIS_PASSWORD": "s3 cret"})
    redis.wait_healthy()
    assert "NOAUTH" in redis.run("redis-cli", "set", "colour", "blue")
    client = ("env", "REDISCLI_AUTH=s3 cret", "redis-cli")
    assert redis.run(*client, "set", "colour", "blue").strip() == "OK"
    assert redis.run(*client, "get", "colour").strip() == "blue"
    assert redis.stop() == 0
