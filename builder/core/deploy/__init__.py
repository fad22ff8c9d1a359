"""What a deployment decides: pins, orders, records, rollouts, networks, and how stacks are."""
