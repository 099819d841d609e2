"""What scripts/bench and scripts/latency-report share: the machine, servers, loads."""
