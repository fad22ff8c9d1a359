"""Stand-ins for the daemons of OpenContrail: real configuration, ports and dependencies, and nothing else."""
