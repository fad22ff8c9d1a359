"""From a release to running stacks: decided here as values, carried out by docker compose."""
