"""The shell of the embedded broker: sockets, TLS, websocket, timers."""
