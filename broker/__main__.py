"""`python -m broker --config FILE` is the embedded broker on its own.

`embedded [VERSION]` and `amqtt` are the child processes of the engines, started by these and not by
hand: their settings come as one line of JSON on standard input.
"""

import sys


def main() -> int:
    match sys.argv[1:]:
        case ["embedded", *version]:
            from broker.engines.embedded_child import main as run_embedded  # noqa: PLC0415 - one engine only

            return run_embedded(" ".join(["edge", *version]))
        case ["amqtt"]:
            from broker.engines.amqtt_child import main as run_amqtt  # noqa: PLC0415 - one engine only

            return run_amqtt()
        case arguments:
            from broker.standalone import main as run_alone  # noqa: PLC0415 - not for children

            return run_alone(arguments)


if __name__ == "__main__":
    sys.exit(main())
