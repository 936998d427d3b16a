#!/bin/sh
# Installs the Debian packages that tests/cluster needs, where any of them is missing.
needed="slurm-wlm munge slurmdbd mariadb-server iproute2 util-linux"
fail() { echo "make cluster: $1" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "it starts SLURM's daemons and networks of their own: expected to run as root"
command -v apt-get >/dev/null || fail "expected Debian or Ubuntu, whose packages it installs ($needed)"
# shellcheck disable=SC2086
[ "$(dpkg-query -W -f '${db:Status-Status}\n' $needed 2>/dev/null | grep -cx installed)" = 6 ] && exit 0
# Debian would start the daemons; the tests start their own.
log=$(mktemp)
{
  apt-get update -qq &&
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -o DPkg::Lock::Timeout=300 \
    install -y -qq --no-install-recommends $needed
} >"$log" 2>&1 || fail "apt-get could not install $needed: $(grep -v '^$' "$log" | tail -n 1)"
rm -f "$log"
