"""A run: what exists to a plan, a plan to jobs, jobs carried out."""
