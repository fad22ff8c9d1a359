# shellcheck shell=sh
# Sourced by the entrypoints of contrail: the variables that have one meaning in all of them. A list of servers is
# separated by blanks; one that is empty means that the daemon does without.
. /usr/local/lib/ocbuild/entrypoint-lib.sh

# with_port PORT SERVERS: each server with its port.
with_port() {
    _port=$1
    _list=
    for _server in $2; do
        case $_server in
            *:*) _list="$_list $_server" ;;
            *) _list="$_list $_server:$_port" ;;
        esac
    done
    echo "${_list# }"
}

databases() {
    default CASSANDRA_SERVERS cassandra
    default ZOOKEEPER_SERVERS zookeeper
    CASSANDRA_SERVERS=$(with_port 9042 "$CASSANDRA_SERVERS")
    ZOOKEEPER_SERVERS=$(with_port 2181 "$ZOOKEEPER_SERVERS")
    export CASSANDRA_SERVERS ZOOKEEPER_SERVERS
}

broker() {
    require RABBIT_PASSWORD
    default RABBIT_HOST rabbitmq
    default RABBIT_PORT 5672
    default RABBIT_USER openstack
}

redis() {
    default REDIS_HOST redis
    default REDIS_PORT 6379
    default REDIS_PASSWORD ''
}

# Where contrail's own daemons are. Each may be set to "none".
daemons() {
    default DISCOVERY_HOST config-discovery
    default COLLECTORS analytics-collector
    default CONFIG_API_HOST config-api
    default ANALYTICS_API_HOST analytics-api
    for _name in DISCOVERY_HOST COLLECTORS CONFIG_API_HOST ANALYTICS_API_HOST; do
        _value=
        eval "_value=\$$_name"
        if [ "$_value" = none ]; then export "$_name="; fi
    done
    COLLECTORS=$(with_port 8086 "$COLLECTORS")
    export COLLECTORS
}

ifmap() {
    require IFMAP_PASSWORD
    default IFMAP_HOST ifmap
    if [ "$IFMAP_HOST" = none ]; then export IFMAP_HOST=; fi
}

# certificate FILE: key and certificate that nobody signed, made anew for every container.
certificate() {
    (
        umask 077
        openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=$(uname -n)" \
            -keyout "$1.key" -out "$1.crt" 2> /dev/null
        cat "$1.key" "$1.crt" > "$1"
    )
}
