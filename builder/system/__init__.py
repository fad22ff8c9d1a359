"""This machine: its processes, files, threads, time and state folder."""
