#!/bin/sh
# Optional: COLLECTORS (may be "none"); CONFIG_PROCESSES, the places where the processes of the config node say how they
# are: by default those of one namespace that all of them share.
. /usr/local/lib/ocbuild/contrail-lib.sh

if [ "${1:-}" = contrail-nodemgr ]; then
    daemons
    default CONFIG_PROCESSES '127.0.0.1:8084 127.0.0.1:8087 127.0.0.1:8088 127.0.0.1:8096 127.0.0.1:5997'
    render /etc/contrail/contrail-config-nodemgr.conf
fi

exec "$@"
