"""The Docker Engine and its logins: the one client of its API."""
