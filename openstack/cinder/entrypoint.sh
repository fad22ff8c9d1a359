#!/bin/sh
# Subcommands: "db-sync" makes or upgrades the tables, "register" enters cinder in keystone; both may be repeated.
#
# Required: DATABASE_PASSWORD, RABBIT_PASSWORD, SERVICE_PASSWORD, and for register ADMIN_PASSWORD.
# Optional: DATABASE_HOST, DATABASE_NAME, DATABASE_USER, RABBIT_HOST, RABBIT_PORT, RABBIT_USER, KEYSTONE_URL, REGION,
# MEMCACHED_SERVERS, INTERNAL_URL, PUBLIC_URL; for cinder-volume VOLUME_HOST, VOLUME_DRIVER, VOLUME_GROUP.
. /usr/local/lib/ocbuild/openstack-lib.sh

configure() {
    require SERVICE_PASSWORD
    database cinder
    broker
    identity
    render /etc/cinder/cinder.conf
}

case "${1:-}" in
    db-sync)
        configure
        exec once db-sync cinder-manage db sync
        ;;
    register)
        register cinder volumev3 'http://cinder-api:8776/v3/%(project_id)s'
        ;;
    uwsgi | cinder-scheduler)
        configure
        ;;
    cinder-volume)
        default VOLUME_HOST "$(uname -n)"
        default VOLUME_DRIVER cinder.volume.drivers.lvm.LVMVolumeDriver
        default VOLUME_GROUP cinder-volumes
        configure
        render /etc/cinder/cinder.conf.d/volume.conf
        ;;
    *)
        # cinder-manage, or a shell: with the configuration if there is enough for one.
        if given DATABASE_PASSWORD RABBIT_PASSWORD SERVICE_PASSWORD; then configure; fi
        ;;
esac

exec "$@"
