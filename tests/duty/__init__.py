"""The duty: the guard that holds it, the keeper that decides about it."""
