#!/bin/sh
# Required: RABBIT_PASSWORD. Optional: RABBIT_USER, RABBIT_MEMORY (above it publishers are held back).
. /usr/local/lib/ocbuild/entrypoint-lib.sh

if [ "${1:-}" = /usr/lib/rabbitmq/bin/rabbitmq-server ]; then
    require RABBIT_PASSWORD
    default RABBIT_USER openstack
    default RABBIT_MEMORY 1GB
    writable /var/lib/rabbitmq
    render /etc/rabbitmq/rabbitmq.conf
fi

exec "$@"
