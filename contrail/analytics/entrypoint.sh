#!/bin/sh
# Optional: REDIS_HOST, REDIS_PORT, REDIS_PASSWORD, CASSANDRA_SERVERS, ZOOKEEPER_SERVERS, KAFKA_SERVERS, COLLECTORS,
# DISCOVERY_HOST, CONFIG_API_HOST, ANALYTICS_API_HOST (the last four may be "none").
. /usr/local/lib/ocbuild/contrail-lib.sh

databases
redis
daemons
default KAFKA_SERVERS kafka
KAFKA_SERVERS=$(with_port 9092 "$KAFKA_SERVERS")
export KAFKA_SERVERS

case "${1:-}" in
    contrail-*) render "/etc/contrail/$1.conf" ;;
esac

exec "$@"
