#!/bin/sh
# Optional: REDIS_HOST, REDIS_PORT, REDIS_PASSWORD, CONFIG_API_HOST, ANALYTICS_API_HOST (the last two may be "none").
. /usr/local/lib/ocbuild/contrail-lib.sh

if [ "${1:-}" = node ]; then
    redis
    daemons
    mkdir -p /var/lib/contrail/keys
    certificate /var/lib/contrail/keys/console.pem
    render /etc/contrail/config.global.js
fi

exec "$@"
