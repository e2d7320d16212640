#!/bin/sh
# Installs the few system libraries that the wheels need, or says which: as root with apt, otherwise it prints the command and fails.
set -eu
python=${1:-python3}
need=""
want() { need="$need $1"; }

library() { ldconfig -p 2>/dev/null | grep -q "$1" || find /usr/lib /lib -name "$1*" 2>/dev/null | grep -q . ; }
PATH="$PATH:/sbin:/usr/sbin"
library libusb-1.0.so.0 || want libusb-1.0-0
library libGL.so.1 || want libgl1
library libEGL.so.1 || want libegl1
library libgomp.so.1 || want libgomp1
command -v g++ >/dev/null || want g++
command -v "$python" >/dev/null || want python3
"$python" -c 'import ensurepip, venv' 2>/dev/null || want python3-venv
"$python" -c 'import pathlib, sysconfig as s, sys; sys.exit(not pathlib.Path(s.get_paths()["include"], "Python.h").exists())' \
  2>/dev/null || want python3-dev

[ -z "$need" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing from apt:$need"
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $need
else
  echo "These packages are missing. Install them, then run make again:" >&2
  echo "  sudo apt-get install --no-install-recommends$need" >&2
  exit 1
fi
