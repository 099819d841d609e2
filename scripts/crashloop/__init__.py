"""The parts of scripts/crash-loop: a server that is hurt from outside, and an oracle that the harm does not touch."""
