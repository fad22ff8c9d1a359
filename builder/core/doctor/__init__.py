"""What follows from facts about a machine: findings with their remedies, and an exit code."""
