#!/bin/sh
# Optional: DNS_DOMAIN; DNS_RECORDS, a list of NAME=ADDRESS in that domain; DNS_FORWARDERS, the addresses of servers that
# are asked for all other names (none: such questions are refused); DNS_CLIENTS, the networks that may ask for them.
. /usr/local/lib/ocbuild/entrypoint-lib.sh

# A list as the inside of named's braces.
semicolons() {
    for item in $1; do
        printf '%s; ' "$item"
    done
}

if [ "${1:-}" = named ]; then
    default DNS_DOMAIN contrail.internal
    default DNS_RECORDS ''
    default DNS_FORWARDERS ''
    default DNS_CLIENTS 'localhost localnets'
    if given DNS_FORWARDERS; then default DNS_RECURSION yes; else default DNS_RECURSION no; fi
    DNS_FORWARDERS=$(semicolons "$DNS_FORWARDERS")
    DNS_CLIENTS=$(semicolons "$DNS_CLIENTS")
    # Grows with every start, as those who keep a copy of the zone expect.
    default DNS_SERIAL "$(date +%s)"

    render /etc/bind/named.conf /etc/bind/zone
    for record in $DNS_RECORDS; do
        address=${record#*=}
        case $address in
            *:*) type=AAAA ;;
            *) type=A ;;
        esac
        echo "${record%%=*} IN $type $address"
    done >> /etc/bind/zone
fi

exec "$@"
