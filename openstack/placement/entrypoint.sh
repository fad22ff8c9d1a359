#!/bin/sh
# The API by default; "db-sync" makes or upgrades the tables, "register" enters placement in keystone; both may be
# repeated.
#
# Required: DATABASE_PASSWORD, SERVICE_PASSWORD, and for register ADMIN_PASSWORD.
# Optional: DATABASE_HOST, DATABASE_NAME, DATABASE_USER, KEYSTONE_URL, REGION, MEMCACHED_SERVERS, INTERNAL_URL, PUBLIC_URL.
. /usr/local/lib/ocbuild/openstack-lib.sh

configure() {
    require SERVICE_PASSWORD
    database placement
    identity
    render /etc/placement/placement.conf
}

case "${1:-}" in
    db-sync)
        configure
        exec once db-sync placement-manage db sync
        ;;
    register)
        register placement placement http://placement:8778
        ;;
    uwsgi)
        configure
        ;;
    *)
        # placement-manage, or a shell: with the configuration if there is enough for one.
        if given DATABASE_PASSWORD SERVICE_PASSWORD; then configure; fi
        ;;
esac

exec "$@"
