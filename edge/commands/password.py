"""Hashes for `[[access.user]]`, in the form that the chosen broker can check."""

from broker.admission.access import hash_password, hash_password_for_mosquitto
from broker.settings import EngineName
from edge.errors import SettingsError


def make_hash(engine: str, password: str) -> str:
    """The line for `password_hash`; each engine's own form where it needs one."""
    if engine not in set(EngineName):
        raise SettingsError(f'there is no engine "{engine}"; one of: {", ".join(EngineName)}')
    if not password:
        raise SettingsError("the password is empty; type one, or pipe one line in")
    if engine == EngineName.MOSQUITTO:
        return hash_password_for_mosquitto(password)
    return hash_password(password)
