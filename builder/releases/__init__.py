"""The commands that look after published releases: show, compare, verify, promote, prune."""
