# shellcheck shell=sh
# Sourced by the entrypoints of the OpenStack services: the variables that have one meaning in all of them.
. /usr/local/lib/ocbuild/entrypoint-lib.sh

# url_safe NAME: a password that becomes part of a URL. Encoded characters would be right, but keystone's migrations trip
# over a "%", and kombu over a "/".
url_safe() {
    require "$1"
    _value=
    eval "_value=\$$1"
    case $_value in
        *[!A-Za-z0-9._~-]*) die "variable $1 may have only letters, digits and . _ ~ -" ;;
    esac
}

# database NAME: its name and its user are by default the service's.
database() {
    url_safe DATABASE_PASSWORD
    default DATABASE_HOST mariadb
    default DATABASE_USER "$1"
    default DATABASE_NAME "$1"
}

broker() {
    url_safe RABBIT_PASSWORD
    default RABBIT_HOST rabbitmq
    default RABBIT_PORT 5672
    default RABBIT_USER openstack
}

# Where keystone is, and where tokens may be remembered; without memcached each process does so for itself.
identity() {
    default KEYSTONE_URL http://keystone:5000/v3
    default REGION RegionOne
    default MEMCACHED_SERVERS ''
    if given MEMCACHED_SERVERS; then
        default CACHE_ENABLED true
    else
        default CACHE_ENABLED false
    fi
}

# register NAME TYPE URL: the service's user and endpoints in keystone. May be repeated.
register() {
    require ADMIN_PASSWORD SERVICE_PASSWORD
    identity
    default INTERNAL_URL "$3"
    default PUBLIC_URL "$INTERNAL_URL"
    exec register-service --name "$1" --type "$2" --internal-url "$INTERNAL_URL" --public-url "$PUBLIC_URL"
}
