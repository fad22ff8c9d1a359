#!/bin/sh
# Optional: CONTROL_NODES, COLLECTORS, DISCOVERY_HOST (each may be "none").
. /usr/local/lib/ocbuild/contrail-lib.sh

if [ "${1:-}" = contrail-vrouter-agent ]; then
    daemons
    default CONTROL_NODES control-control
    if [ "$CONTROL_NODES" = none ]; then export CONTROL_NODES=; fi
    render /etc/contrail/contrail-vrouter-agent.conf
fi

exec "$@"
