"""The embedded broker beside the others: `python -m benchmarks.broker --help`.

`rows` says what is measured, `contest` runs it on the engines in turns, `report` prints it; the
load comes from a process of its own (`load` and `retaining`, with their `clients` over `streams`).
`place` is what they need on the disk. `soak` keeps brokers busy for long, with the load `churn`.
"""
