#!/bin/sh
# Subcommands: "db-sync" makes or upgrades the tables, "register" enters glance in keystone; both may be repeated.
#
# Required: DATABASE_PASSWORD, SERVICE_PASSWORD, and for register ADMIN_PASSWORD.
# Optional: DATABASE_HOST, DATABASE_NAME, DATABASE_USER, KEYSTONE_URL, REGION, MEMCACHED_SERVERS, INTERNAL_URL, PUBLIC_URL.
# Volume: /var/lib/glance/images.
. /usr/local/lib/ocbuild/openstack-lib.sh

configure() {
    require SERVICE_PASSWORD
    database glance
    identity
    render /etc/glance/glance-api.conf
}

case "${1:-}" in
    db-sync)
        configure
        exec once db-sync glance-manage db_sync
        ;;
    register)
        register glance image http://glance-api:9292
        ;;
    uwsgi)
        configure
        writable /var/lib/glance/images
        ;;
    *)
        # glance-manage, or a shell: with the configuration if there is enough for one.
        if given DATABASE_PASSWORD SERVICE_PASSWORD; then configure; fi
        ;;
esac

exec "$@"
