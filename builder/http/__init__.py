"""HTTP as a client speaks it: connections, proxies, trust."""
