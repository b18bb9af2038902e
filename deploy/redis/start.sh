#!/bin/sh
# Starts redis-server on an append-only file that is whole, with the users of users.sh.
# Their passwords go through a file in memory, never through arguments or the environment.
set -eu

/bin/sh /etc/redis/repair.sh /data/appendonlydir

umask 077
auth=/tmp/secret.conf
/bin/sh /etc/redis/users.sh /run/secrets >"$auth"

# Handed a key of its own (deploy/compose/tls.yml), Redis speaks TLS on its port, and nothing else.
if [ -e /run/secrets/tls_redis.key ]; then
  cat >>"$auth" <<EOF
port 0
tls-port 6379
tls-cert-file /run/secrets/tls_redis.crt
tls-key-file /run/secrets/tls_redis.key
tls-ca-cert-file /run/secrets/tls_ca.crt
tls-auth-clients no
EOF
fi

exec redis-server /etc/redis/redis.conf --include "$auth" "$@"
