#!/bin/sh
# Optional: ZOOKEEPER_SERVERS, the hosts of an ensemble in order, and ZOOKEEPER_ID, which of them this is (from 1);
# ZOOKEEPER_HEAP.
. /usr/local/lib/ocbuild/entrypoint-lib.sh

if [ "${1:-}" = zookeeper ]; then
    shift
    default ZOOKEEPER_HEAP 512m
    writable /var/lib/zookeeper
    render /etc/zookeeper/zoo.cfg

    if given ZOOKEEPER_SERVERS; then
        require ZOOKEEPER_ID
        echo "$ZOOKEEPER_ID" > /var/lib/zookeeper/myid
        id=0
        for host in $ZOOKEEPER_SERVERS; do
            id=$((id + 1))
            # Its own name may not resolve to an address that a container can bind.
            [ "$id" != "$ZOOKEEPER_ID" ] || host=0.0.0.0
            echo "server.$id=$host:2888:3888"
        done >> /etc/zookeeper/zoo.cfg
    fi

    set -- java "-Xmx$ZOOKEEPER_HEAP" \
        -cp /etc/zookeeper:/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-log4j12.jar:/usr/share/java/log4j-1.2.jar \
        org.apache.zookeeper.server.quorum.QuorumPeerMain /etc/zookeeper/zoo.cfg "$@"
fi

exec "$@"
