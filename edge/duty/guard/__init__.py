"""The guard: a process of its own that holds what being hot means outside, and lets go by itself.

Standard library only, and of that only what is small (no asyncio, dataclasses, pathlib): the
whole process stays within 12 MB, so that it can be locked into memory.
"""
