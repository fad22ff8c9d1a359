#!/bin/sh
# Optional: CASSANDRA_CLUSTER; CASSANDRA_SEEDS, the addresses of nodes that know the others, and CASSANDRA_ADDRESS, that
# of this one (by default the container's, and the only seed); CASSANDRA_HEAP.
. /usr/local/lib/ocbuild/entrypoint-lib.sh

if [ "${1:-}" = cassandra ]; then
    shift
    default CASSANDRA_CLUSTER contrail
    default CASSANDRA_ADDRESS "$(hostname -i | cut -d' ' -f1)"
    default CASSANDRA_SEEDS "$CASSANDRA_ADDRESS"
    default CASSANDRA_HEAP 1g
    CASSANDRA_SEEDS=$(echo "$CASSANDRA_SEEDS" | tr ' ' ',')
    writable /var/lib/cassandra
    render /etc/cassandra/cassandra.yaml
    set -- java "-Xms$CASSANDRA_HEAP" "-Xmx$CASSANDRA_HEAP" @/etc/cassandra/java.options \
        org.apache.cassandra.service.CassandraDaemon "$@"
fi

exec "$@"
