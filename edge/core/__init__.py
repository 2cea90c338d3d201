"""The decisions: who is hot, as a pure function. docs/protocol.md is its specification.

Drive it with `edge.core.step.start` and `edge.core.step.step`; nothing in here reads a clock,
draws a random number, logs, or touches the world.
"""
