#!/bin/sh
# The programs of a PostgreSQL server and a balancer, which the tests start for themselves: Debian's, if there are none.
set -eu

has_server() {
    command -v initdb >/dev/null && return
    for initdb in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$initdb" ] && return
    done
    return 1
}

has_balancer() {
    command -v haproxy >/dev/null || [ -x /usr/sbin/haproxy ]
}

has_server && has_balancer && exit 0

as_root=
[ "$(id -u)" = 0 ] || as_root='sudo -n'
if ! command -v apt-get >/dev/null || ! $as_root true 2>/dev/null; then
    echo 'The tests need `initdb`, `postgres` and `haproxy`, and there is no leave to install them: install the PostgreSQL server and HAProxy first.' >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q
if ! has_balancer; then
    $as_root apt-get install -qy --no-install-recommends haproxy
fi
if ! has_server; then
    # First what decides whether a server runs from now on: none is to.
    $as_root apt-get install -qy --no-install-recommends postgresql-common
    $as_root sed -i 's/^#* *create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    $as_root apt-get install -qy --no-install-recommends postgresql
fi
