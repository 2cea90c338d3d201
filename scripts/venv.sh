# Sourced by the scripts next to it, with the project's folder as the current one.
# make_venv [dev] sets VENV to a virtual environment with this project (and its tools) in it,
# and makes it if there is none or pyproject.toml has changed.

VENV="${VENV:-$PWD/.venv}"

# Prints a Python that will do: the system's own, for which there is python3-venv, else a newer one.
find_python() {
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

give_up() {
    echo "edge: $1" >&2
    exit 1
}

make_venv() {
    extra="${1:-run}"
    stamp="$VENV/.edge-$extra-$(cksum < pyproject.toml | tr -c '0-9\n' '-')"
    if [ -e "$stamp" ]; then
        return
    fi
    # What an interrupted attempt left behind has no pip.
    if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        python="${PYTHON:-$(find_python)}"
        [ -n "$python" ] || give_up \
            "Python 3.11 or newer is missing (Debian 12 and newer have it); install it: sudo apt install python3 python3-venv"
        "$python" -c 'import ensurepip, venv' 2>/dev/null || give_up \
            "Python's venv is missing; install it: sudo apt install python3-venv"
        echo "edge: making a virtual environment in $VENV" >&2
        "$python" -m venv --clear "$VENV"
    fi
    echo "edge: installing, this takes a minute the first time" >&2
    wanted="."
    [ "$extra" = dev ] && wanted=".[dev]"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$wanted" >&2 \
        || give_up "installing failed; is the network there? The lines above say more"
    touch "$stamp"
}
