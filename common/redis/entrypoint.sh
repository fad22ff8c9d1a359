#!/bin/sh
# Optional: REDIS_PASSWORD.
. /usr/local/lib/ocbuild/entrypoint-lib.sh

if [ "${1:-}" = redis-server ]; then
    writable /var/lib/redis
    default REDIS_PASSWORD ''
    render /etc/redis/redis.conf
fi

exec "$@"
