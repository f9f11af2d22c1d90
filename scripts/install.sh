#!/bin/sh
# Make the virtual environment that the Makefile uses: scripts/install.sh PYTHON VENV
# Installs system libraries where OpenCV lacks them (apt-get, as root or with sudo), then the pinned packages.
set -u
python=$1
venv=$2

fail() {
    echo >&2
    echo "error: $1" >&2
    echo "remedy: $2" >&2
    exit 1
}

system_packages() { # names of Debian packages
    if ! command -v apt-get >/dev/null; then
        return 1
    fi
    sudo=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || return 1
        sudo=sudo
    fi
    $sudo apt-get update -qq && $sudo apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

install() { # what it is for, then the program that runs pip, and pip's arguments
    what=$1
    shift
    echo "installing $what"
    "$venv/bin/python" "$@" -q --disable-pip-version-check -c constraints.txt 2>"$venv/pip.log" || {
        tail -n 15 "$venv/pip.log" >&2
        fail "pip could not install $what" "check that a package registry is reachable (pip config list), then run make again"
    }
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    fail "Python 3.10 or newer is needed, '$python' is $("$python" --version 2>&1)" "make PYTHON=/path/to/python3.13 ..."
"$python" -c 'import ensurepip, venv' 2>/dev/null || system_packages python3-venv ||
    fail "Python's venv module is missing" "install it, on Debian: apt-get install python3-venv"
[ -x "$venv/bin/pip" ] || "$python" -m venv "$venv" || fail "no virtual environment could be made in $venv" "delete it and run make again"

install 'build tools' -m pip install setuptools wheel
install 'PyTorch' -m pip install torch torchvision
install 'BasicSR' ext_core/install_basicsr.py
install 'BasicSR-Ext' -m pip install --no-build-isolation -e '.[dev]'

"$venv/bin/python" -c 'import cv2' 2>/dev/null || {
    echo 'installing the system libraries of OpenCV'
    system_packages libgl1 libglib2.0-0
    "$venv/bin/python" -c 'import cv2' ||
        fail 'OpenCV cannot be imported' 'install its system libraries, on Debian: apt-get install libgl1 libglib2.0-0'
}
touch "$venv/.installed"
echo "the environment is ready in $venv"
