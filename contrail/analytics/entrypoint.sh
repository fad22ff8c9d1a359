#!/bin/sh
# Optional: REDIS_HOST, REDIS_PORT; for webdis REDIS_PASSWORD (collectd has no way to say one).
. /usr/local/lib/ocbuild/entrypoint-lib.sh

default REDIS_HOST redis
default REDIS_PORT 6379

case "${1:-}" in
    webdis)
        # An empty password is one for webdis, and no password is null.
        if given REDIS_PASSWORD; then
            default REDIS_AUTH "\"$(printf %s "$REDIS_PASSWORD" | sed 's/["\\]/\\&/g')\""
        else
            default REDIS_AUTH null
        fi
        render /etc/webdis/webdis.json
        ;;
    collectd)
        writable /var/lib/collectd
        render /etc/collectd/collectd.conf
        ;;
esac

exec "$@"
