#!/bin/sh
# Healthy while Redis responds to PING with the password; while it loads its file, it does not.
set -eu
REDISCLI_AUTH=$(cat /run/secrets/redis_password)
export REDISCLI_AUTH
# As start.sh: with a key there is only TLS.
if [ -e /run/secrets/tls_redis.key ]; then
  set -- --tls --cacert /run/secrets/tls_ca.crt
fi
[ "$(redis-cli --no-auth-warning "$@" ping)" = PONG ]
