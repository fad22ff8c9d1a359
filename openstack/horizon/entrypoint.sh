#!/bin/sh
# Required: HORIZON_SECRET_KEY (signs cookies, so it is the same in all containers of a site), MEMCACHED_SERVERS (where
# the sessions of all workers are).
# Optional: KEYSTONE_URL, REGION, HORIZON_HOSTS (the names under which people call it, with spaces between).
. /usr/local/lib/ocbuild/openstack-lib.sh

if [ "${1:-}" = uwsgi ]; then
    require HORIZON_SECRET_KEY MEMCACHED_SERVERS
    identity
    default HORIZON_HOSTS '*'
fi

exec "$@"
