#!/usr/bin/env bash
# Installs the Debian packages that are missing, when it may (root, and FLYBALL_APT is not 0); otherwise names them.
#   system_packages.sh build    what the build needs: a compiler, Python's headers and venv; failure when still missing
#   system_packages.sh fuzz     what the fuzz targets and sanitizers need: clang with its run-time; failure when still missing
#   system_packages.sh clang    the same for a build with clang
#   system_packages.sh tidy     the same for clang-tidy
#   system_packages.sh image    what boot images need: clang, lld, mtools, QEMU and its firmware; failure when still missing
#   system_packages.sh check    what checks and tests need, boot images among it; failure when still missing and CI=true
set -euo pipefail

python=${PYTHON:-python3}
image="lld-link-19:lld-19 qemu-system-x86_64:qemu-system-x86 OVMF:ovmf mcopy:mtools fsck.fat:dosfstools sgdisk:gdisk"
case ${1:-} in
  build) needs="c++:g++ git:git venv:python3-venv Python.h:python3-dev" ;;
  check)
    needs="clang++-19:clang-19 clang-format-19:clang-format-19 tmux:tmux initdb:postgresql promtool:prometheus"
    needs="$needs redis-server:redis-server amtool:prometheus-alertmanager chromium:chromium bwrap:bubblewrap $image"
    ;;
  image) needs="clang++-19:clang-19 $image" ;;
  fuzz) needs="clang++-19:clang-19 clang-run-time:libclang-rt-19-dev" ;;
  clang) needs="clang++-19:clang-19" ;;
  tidy) needs="clang-tidy-19:clang-tidy-19" ;;
  *) echo "usage: $0 build|check|image|fuzz|clang|tidy" >&2; exit 2 ;;
esac

present() {
  case $1 in
    venv) "$python" -c 'import ensurepip, venv' 2>/dev/null ;;
    Python.h) "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ;;
    clang-run-time) [ -e "$(clang++-19 -print-file-name=libclang_rt.fuzzer.a 2>/dev/null)" ] ||
      [ -e "$(clang++-19 -print-file-name=libclang_rt.fuzzer-x86_64.a 2>/dev/null)" ] ;;
    OVMF) [ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || [ -e /usr/share/edk2/x64/OVMF_CODE_4M.fd ] ;;
    initdb) command -v initdb >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null ;;
    fsck.fat | sgdisk) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

missing() {
  local need
  for need in $needs; do
    present "${need%%:*}" || printf '%s ' "${need##*:}"
  done
}

packages=$(missing)
[ -z "$packages" ] && exit 0

if [ "${FLYBALL_APT:-1}" != 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing with apt-get, as root: $packages(FLYBALL_APT=0 leaves that to you)" >&2
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  { apt-get -q -o DPkg::Lock::Timeout=300 update &&
    apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $packages; } >&2 || true
fi

packages=$(missing)
[ -z "$packages" ] && exit 0
echo "Missing: $packages" >&2
echo "Install them with: sudo apt-get install $packages" >&2
if [ "$1" != check ] || [ "${CI:-}" = true ]; then exit 1; fi
echo "The checks that need them are left out." >&2
