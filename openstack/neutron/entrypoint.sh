#!/bin/sh
# Subcommands: "db-sync" makes or upgrades the tables, "register" enters neutron in keystone; both may be repeated.
#
# Required: DATABASE_PASSWORD, RABBIT_PASSWORD, SERVICE_PASSWORD, and for register ADMIN_PASSWORD.
# Optional: DATABASE_HOST, DATABASE_NAME, DATABASE_USER, RABBIT_HOST, RABBIT_PORT, RABBIT_USER, KEYSTONE_URL, REGION,
# MEMCACHED_SERVERS, MECHANISM_DRIVERS, PHYSICAL_MTU (of the network under the tunnels), INTERNAL_URL, PUBLIC_URL.
. /usr/local/lib/ocbuild/openstack-lib.sh

configure() {
    require SERVICE_PASSWORD
    database neutron
    broker
    identity
    default MECHANISM_DRIVERS openvswitch,l2population
    default PHYSICAL_MTU 1500
    render /etc/neutron/neutron.conf
}

case "${1:-}" in
    db-sync)
        configure
        exec neutron-db-manage upgrade heads
        ;;
    register)
        register neutron network http://neutron-server:9696
        ;;
    neutron-*)
        configure
        ;;
    *)
        # A shell: with the configuration if there is enough for one.
        if given DATABASE_PASSWORD RABBIT_PASSWORD SERVICE_PASSWORD; then configure; fi
        ;;
esac

exec "$@"
