"""Fuzzing of the embedded engine's core: random bytes, packets and times, without a socket."""
