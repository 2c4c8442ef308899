#!/bin/sh
# The programs of a PostgreSQL server, which the tests start for themselves: Debian's, if there are none.
set -eu

command -v initdb >/dev/null && exit 0
for initdb in /usr/lib/postgresql/*/bin/initdb; do
    [ -x "$initdb" ] && exit 0
done

as_root=
[ "$(id -u)" = 0 ] || as_root='sudo -n'
if ! command -v apt-get >/dev/null || ! $as_root true 2>/dev/null; then
    echo 'The tests need `initdb` and `postgres`, and there is no leave to install them: install the PostgreSQL server first.' >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q
# First what decides whether a server runs from now on: none is to.
$as_root apt-get install -qy --no-install-recommends postgresql-common
$as_root sed -i 's/^#* *create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
$as_root apt-get install -qy --no-install-recommends postgresql
