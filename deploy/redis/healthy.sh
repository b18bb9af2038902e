#!/bin/sh
# Healthy while Redis responds to PING; while it loads its file, it does not.
set -eu
# As start.sh: with a key there is only TLS.
if [ -e /run/secrets/tls_redis.key ]; then
  set -- --tls --cacert /run/secrets/tls_ca.crt
fi
# A user who needs no password, and can do nothing else.
[ "$(redis-cli --no-auth-warning --user health --pass none "$@" ping)" = PONG ]
