"""The embedded broker beside the others: `python -m benchmarks.broker --help`.

`rows` says what is measured, `contest` runs it on the engines in turns, `report` prints it; the
load comes from a process of its own (`load`, with its `clients` and `crowd` over `streams`).
`soak` keeps one broker busy for long.
"""
