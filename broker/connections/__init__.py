"""One client's protocol: bytes in, packets to the router, bytes out. Pure."""
