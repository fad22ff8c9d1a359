#!/bin/sh
# Tells the maintainer scripts of packages that no service may be started or stopped in a build.
exit 101
