#!/bin/sh
# The client's own OS_ variables, from those that the services take; any OS_ variable that is set stays as it is.
#
# Optional: ADMIN_PASSWORD, KEYSTONE_URL, REGION.
. /usr/local/lib/ocbuild/openstack-lib.sh

identity
default OS_AUTH_URL "$KEYSTONE_URL"
default OS_REGION_NAME "$REGION"
default OS_USERNAME admin
default OS_PROJECT_NAME admin
default OS_USER_DOMAIN_NAME Default
default OS_PROJECT_DOMAIN_NAME Default
if given ADMIN_PASSWORD; then default OS_PASSWORD "$ADMIN_PASSWORD"; fi

exec "$@"
