#!/bin/sh
# Required: IFMAP_PASSWORD, that of the user contrail.
. /usr/local/lib/ocbuild/contrail-lib.sh

if [ "${1:-}" = ifmap-server ]; then
    require IFMAP_PASSWORD
    certificate /etc/ifmap-server/keystore.pem
    render /etc/ifmap-server/ifmap.properties /etc/ifmap-server/basicauthusers.properties
fi

exec "$@"
