"""Who may come in, do what, and how fast."""
