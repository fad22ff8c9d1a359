#!/bin/sh
# Optional: KAFKA_HOST, the name under which clients find this broker (by default the container's); KAFKA_HEAP,
# ZOOKEEPER_HEAP.
. /usr/local/lib/ocbuild/entrypoint-lib.sh

if [ "${1:-}" = supervisord ]; then
    default KAFKA_HOST "$(uname -n)"
    default KAFKA_HEAP 512m
    default ZOOKEEPER_HEAP 256m
    writable /var/lib/kafka /var/lib/zookeeper
    render /etc/kafka/server.properties
fi

exec "$@"
