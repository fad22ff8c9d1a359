#!/bin/sh
# Subcommands: "db-sync" makes or upgrades the tables, "register" enters neutron in keystone; both may be repeated.
#
# Required: RABBIT_PASSWORD; DATABASE_PASSWORD and SERVICE_PASSWORD, which agents do without; for neutron-metadata-agent
# METADATA_SECRET; and for register ADMIN_PASSWORD.
# Optional: DATABASE_HOST, DATABASE_NAME, DATABASE_USER, RABBIT_HOST, RABBIT_PORT, RABBIT_USER, KEYSTONE_URL, REGION,
# MEMCACHED_SERVERS, MECHANISM_DRIVERS, PHYSICAL_MTU (of the network under the tunnels), INTERNAL_URL, PUBLIC_URL;
# for agents COMPUTE_HOST (as nova-compute has it), DATAPATH_TYPE (netdev on a kernel without Open vSwitch), TUNNEL_IP (by
# which other hosts reach this one), NOVA_METADATA_HOST.
. /usr/local/lib/ocbuild/openstack-lib.sh

configure() {
    broker
    render /etc/neutron/neutron.conf
}

configure_server() {
    require SERVICE_PASSWORD
    database neutron
    identity
    default MECHANISM_DRIVERS openvswitch,l2population
    default PHYSICAL_MTU 1500
    configure
    render /etc/neutron/neutron.conf.d/server.conf
}

# configure_agent NAME: its own file, named so.
configure_agent() {
    default COMPUTE_HOST "$(uname -n)"
    default DATAPATH_TYPE system
    configure
    render "/etc/neutron/neutron.conf.d/$1.conf"
    writable /var/lib/neutron
}

# The names of network namespaces outlive a restart of their container, the namespaces do not: an agent that believed in
# them could neither use nor make one.
forget_namespaces() {
    for namespace in /run/netns/*; do
        [ -e "$namespace" ] || continue
        sudo /usr/bin/neutron-rootwrap /etc/neutron/rootwrap.conf ip netns delete "${namespace##*/}"
    done
}

case "${1:-}" in
    db-sync)
        configure_server
        exec once db-sync neutron-db-manage upgrade heads
        ;;
    register)
        register neutron network http://neutron-server:9696
        ;;
    neutron-openvswitch-agent)
        default TUNNEL_IP "$(hostname -i | cut -d ' ' -f 1)"
        configure_agent agent
        ;;
    neutron-dhcp-agent)
        configure_agent dhcp
        forget_namespaces
        ;;
    neutron-metadata-agent)
        require METADATA_SECRET
        default NOVA_METADATA_HOST nova-metadata
        configure_agent metadata
        ;;
    neutron-*)
        configure_server
        ;;
    *)
        # A shell: with the configuration if there is enough for one.
        if given DATABASE_PASSWORD RABBIT_PASSWORD SERVICE_PASSWORD; then configure_server; fi
        ;;
esac

exec "$@"
