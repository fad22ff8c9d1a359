#!/bin/sh
# Required: IFMAP_PASSWORD.
# Optional: IFMAP_HOST, COLLECTORS, DISCOVERY_HOST (each may be "none").
. /usr/local/lib/ocbuild/contrail-lib.sh

case "${1:-}" in
    contrail-*)
        ifmap
        daemons
        if given IFMAP_HOST; then default IFMAP_URL "https://$IFMAP_HOST:8443"; else default IFMAP_URL ''; fi
        render "/etc/contrail/$1.conf"
        ;;
esac

exec "$@"
