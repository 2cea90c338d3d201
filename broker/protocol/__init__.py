"""MQTT 3.1, 3.1.1 and 5 as bytes, packets, topic names and filters. Pure."""
