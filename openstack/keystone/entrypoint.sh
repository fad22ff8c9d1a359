#!/bin/sh
# The API by default; "bootstrap" makes tables, keys, the admin user and keystone's own endpoints, and may be repeated.
#
# Required: DATABASE_PASSWORD, and for bootstrap ADMIN_PASSWORD.
# Optional: DATABASE_HOST, DATABASE_NAME, DATABASE_USER, MEMCACHED_SERVERS, REGION, KEYSTONE_URL (by which services call
# keystone), PUBLIC_URL (by which people do).
# Volume: /var/lib/keystone/keys, the same one for bootstrap and the API.
. /usr/local/lib/ocbuild/openstack-lib.sh

configure() {
    database keystone
    identity
    render /etc/keystone/keystone.conf
}

case "${1:-}" in
    bootstrap)
        require ADMIN_PASSWORD
        configure
        default PUBLIC_URL "$KEYSTONE_URL"
        writable /var/lib/keystone/keys
        once db-sync keystone-manage db_sync
        # Keys lie in a volume of their own, and those that are there stay.
        [ -e /var/lib/keystone/keys/fernet/0 ] || keystone-manage fernet_setup
        [ -e /var/lib/keystone/keys/credential/0 ] || keystone-manage credential_setup
        # By environment: an argument could be read by every user of the host.
        export OS_BOOTSTRAP_PASSWORD="$ADMIN_PASSWORD" OS_BOOTSTRAP_REGION_ID="$REGION" \
            OS_BOOTSTRAP_ADMIN_URL="$KEYSTONE_URL" OS_BOOTSTRAP_INTERNAL_URL="$KEYSTONE_URL" \
            OS_BOOTSTRAP_PUBLIC_URL="$PUBLIC_URL"
        exec once --with ADMIN_PASSWORD --with REGION --with KEYSTONE_URL --with PUBLIC_URL \
            bootstrap keystone-manage bootstrap
        ;;
    uwsgi)
        configure
        [ -e /var/lib/keystone/keys/fernet/0 ] ||
            die 'no keys in /var/lib/keystone/keys: run "bootstrap" on the same volume first'
        ;;
    *)
        # keystone-manage, or a shell: with the configuration if there is enough for one.
        if given DATABASE_PASSWORD; then configure; fi
        ;;
esac

exec "$@"
