#!/bin/sh
# Required: RABBIT_PASSWORD (not for contrail-discovery); for contrail-api IFMAP_PASSWORD, and ADMIN_PASSWORD where
# KEYSTONE_URL is set.
# Optional: RABBIT_HOST, RABBIT_PORT, RABBIT_USER, CASSANDRA_SERVERS, ZOOKEEPER_SERVERS, DISCOVERY_HOST, CONFIG_API_HOST,
# IFMAP_HOST (the last three may be "none"), KEYSTONE_URL.
. /usr/local/lib/ocbuild/contrail-lib.sh

databases
daemons

case "${1:-}" in
    contrail-discovery)
        render "/etc/contrail/$1.conf"
        ;;
    contrail-api)
        broker
        ifmap
        default KEYSTONE_URL ''
        if given KEYSTONE_URL; then require ADMIN_PASSWORD; else default ADMIN_PASSWORD ''; fi
        render "/etc/contrail/$1.conf"
        ;;
    contrail-*)
        broker
        render "/etc/contrail/$1.conf"
        ;;
esac

exec "$@"
