"""The numbers of the packets, the same in all versions of MQTT, but for AUTH."""

from typing import Final

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)
# Not a packet: the part of a CONNECT that has properties of its own.
WILL: Final = 0

# The low half of the first byte is fixed for every packet but PUBLISH.
FLAGS: Final = {PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}

# Versions, as the CONNECT says them.
MQTT_3_1, MQTT_3_1_1, MQTT_5 = 3, 4, 5
