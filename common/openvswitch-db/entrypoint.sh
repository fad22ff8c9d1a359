#!/bin/sh
# The database of Open vSwitch: made when a container meets an empty volume, brought to the schema of this version when
# it meets an older one.
#
# Volume: /var/lib/openvswitch; empty after each start of a host is as good, for agents put everything in again.
. /usr/local/lib/ocbuild/entrypoint-lib.sh

file=/var/lib/openvswitch/conf.db
schema=/usr/share/openvswitch/vswitch.ovsschema

if [ "${1:-}" = ovsdb-server ]; then
    writable /var/lib/openvswitch
    if [ ! -e "$file" ]; then
        ovsdb-tool create "$file" "$schema"
        # Everything hangs from the one row of this table, which by tradition the first call of ovs-vsctl makes.
        ovsdb-tool transact "$file" '["Open_vSwitch",{"op":"insert","table":"Open_vSwitch","row":{}}]' > /dev/null
    elif [ "$(ovsdb-tool needs-conversion "$file" "$schema")" = yes ]; then
        log "converting $file to the schema of $(ovsdb-server --version | head -n 1)"
        ovsdb-tool convert "$file" "$schema"
    fi
fi

exec "$@"
