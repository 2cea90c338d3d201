"""A driver that runs on every node and acts on one: told by EDGE_ROLE, then line by line."""

import json
import os
import sys

role = {"role": os.environ["EDGE_ROLE"], "term": int(os.environ["EDGE_TERM"])}
while True:
    print("active" if role["role"] == "hot" else "waiting", "in term", role["term"], flush=True)
    line = sys.stdin.readline()
    if not line:
        break  # edge is gone: whatever it was, it is over
    role = json.loads(line)
