"""Shows and stores what happens in a run: its modules listen to events, or render values."""
