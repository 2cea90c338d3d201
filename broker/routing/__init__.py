"""Who gets what: sessions, subscriptions, retained messages, and what waits. Pure."""
