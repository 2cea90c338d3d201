"""The child processes of the engines: `python -m broker embedded [VERSION]` or `amqtt`.

Started by the engine, not by hand: the settings come as one line of JSON on standard input.
"""

import sys


def main() -> int:
    match sys.argv[1:]:
        case ["embedded", *version]:
            from broker.embedded_child import main as run_embedded  # noqa: PLC0415 - one engine only

            return run_embedded(" ".join(["edge", *version]))
        case ["amqtt"]:
            from broker.amqtt_child import main as run_amqtt  # noqa: PLC0415 - one engine only

            return run_amqtt()
        case _:
            sys.stderr.write("usage: python -m broker embedded|amqtt, settings on standard input\n")
            return 2


if __name__ == "__main__":
    sys.exit(main())
