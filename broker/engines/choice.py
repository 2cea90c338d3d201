"""The three engines by name. Only the chosen one is imported: each brings its own libraries."""

from broker.engines.engine import Engine
from broker.settings import BrokerSettings, EngineName


def create_engine(name: EngineName, settings: BrokerSettings) -> Engine:
    """A new engine, not started. Raises EngineError for settings that it cannot honour."""
    match name:
        case EngineName.EMBEDDED:
            from broker.engines.embedded import EmbeddedEngine  # noqa: PLC0415

            return EmbeddedEngine(settings)
        case EngineName.MOSQUITTO:
            from broker.engines.mosquitto import MosquittoEngine  # noqa: PLC0415

            return MosquittoEngine(settings)
        case EngineName.AMQTT:
            from broker.engines.amqtt import AmqttEngine  # noqa: PLC0415

            return AmqttEngine(settings)
