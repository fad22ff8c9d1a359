"""ocbuild's own records in a registry: releases, claims, inventories, deployments."""
