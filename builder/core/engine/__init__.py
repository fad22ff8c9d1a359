"""What a Docker Engine and its builders say, as values: answers, progress, faults, endpoints."""
