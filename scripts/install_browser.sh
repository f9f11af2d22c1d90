#!/bin/sh
# Installs Chromium from the distribution's registry, where it is missing and may be installed. Never fails: the tests
# that need it are skipped without, and say so.
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
sudo=
[ "$(id -u)" = 0 ] || sudo='sudo -n'
if command -v apt-get >/dev/null && echo 'installing Chromium for the tests of HTML pages' &&
    $sudo timeout 120 apt-get update -qq && $sudo timeout 300 apt-get install -qq -y --no-install-recommends chromium >/dev/null; then
    exit 0
fi
echo 'warning: Chromium could not be installed; the tests of HTML pages in a browser are skipped' >&2
