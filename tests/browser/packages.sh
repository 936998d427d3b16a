#!/bin/sh
# Installs Debian's Chromium for tests/browser, where no browser of its kind is there.
for name in chromium google-chrome; do command -v "$name" >/dev/null && exit 0; done
fail() { echo "make browser: $1" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "it installs Chromium: expected to run as root, or chromium on the PATH"
command -v apt-get >/dev/null || fail "expected Debian, whose chromium it installs, or chromium on the PATH"
log=$(mktemp)
{
  apt-get update -qq &&
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
    install -y -qq --no-install-recommends chromium
} >"$log" 2>&1 || fail "apt-get could not install chromium: $(grep -v '^$' "$log" | tail -n 1)"
rm -f "$log"
