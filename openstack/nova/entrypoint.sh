#!/bin/sh
# Subcommands: "db-sync" makes or upgrades the tables and the cells, "register" enters nova in keystone; both may be
# repeated.
#
# Required: RABBIT_PASSWORD; SERVICE_PASSWORD, of nova and of the services that it calls; DATABASE_PASSWORD, which only
# nova-compute does without; and for register ADMIN_PASSWORD.
# Optional: DATABASE_HOST, DATABASE_USER, DATABASE_NAME (names of the other two databases begin with it), RABBIT_HOST,
# RABBIT_PORT, RABBIT_USER, KEYSTONE_URL, REGION, MEMCACHED_SERVERS, METADATA_SECRET, NOVNC_URL, INTERNAL_URL, PUBLIC_URL;
# for nova-compute COMPUTE_HOST, COMPUTE_DRIVER, VIRT_TYPE, CPU_MODE.
. /usr/local/lib/ocbuild/openstack-lib.sh

configure() {
    require SERVICE_PASSWORD
    broker
    identity
    default METADATA_SECRET ''
    default NOVNC_URL http://127.0.0.1:6080/vnc_lite.html
    render /etc/nova/nova.conf
}

configure_with_database() {
    database nova
    configure
    render /etc/nova/nova.conf.d/database.conf
}

# Cells keep these patterns and not the URLs: nova fills them from [database] and transport_url, so that no password
# lies in a table and a changed one needs no work here.
cell_database() {
    echo "{scheme}://{username}:{password}@{hostname}/$1?{query}"
}

db_sync() {
    nova-manage api_db sync
    nova-manage cell_v2 map_cell0 --database_connection "$(cell_database "${DATABASE_NAME}_cell0")"
    # By name: nova itself compares URLs, finds that a pattern differs from what it stands for, and makes one cell more.
    if ! nova-manage cell_v2 list_cells | grep -q ' cell1 '; then
        nova-manage cell_v2 create_cell --name cell1 \
            --database_connection "$(cell_database "$DATABASE_NAME")" \
            --transport-url '{scheme}://{username}:{password}@{hostname}:{port}/'
    fi
    nova-manage db sync
}

case "${1:-}" in
    db-sync)
        configure_with_database
        exec once db-sync entrypoint.sh db-sync-now
        ;;
    db-sync-now)
        db_sync
        exit
        ;;
    register)
        register nova compute http://nova-api:8774/v2.1
        ;;
    uwsgi | nova-conductor | nova-scheduler | nova-novncproxy)
        configure_with_database
        ;;
    nova-compute)
        default COMPUTE_HOST "$(uname -n)"
        default COMPUTE_DRIVER libvirt.LibvirtDriver
        default VIRT_TYPE kvm
        # A guest's CPU can be the host's only if the host's is what runs it.
        if [ "$VIRT_TYPE" = kvm ]; then default CPU_MODE host-model; else default CPU_MODE none; fi
        configure
        render /etc/nova/nova.conf.d/compute.conf
        writable /var/lib/nova /var/lib/nova/instances
        ;;
    *)
        # nova-manage, or a shell: with the configuration if there is enough for one.
        if given DATABASE_PASSWORD RABBIT_PASSWORD SERVICE_PASSWORD; then configure_with_database; fi
        ;;
esac

exec "$@"
