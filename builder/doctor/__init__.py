"""Looks over a machine: can it build, publish and deploy, and if not, what is to be done."""
