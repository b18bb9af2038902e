#!/bin/sh
# Prints the users of Redis as lines of redis.conf, each with the password from its secret file:
#
#   users.sh FOLDER        the folder of the secrets: /run/secrets
#
# Passwords stand there as their SHA-256: whatever characters one has, Redis neither misreads nor logs it.
# docs/security.md says what each user may.
set -eu

folder=$1

# user NAME RULES…: with the password in redis_NAME_password.
user() {
  name=$1
  shift
  file=$folder/redis_${name}_password
  password=$(cat "$file")
  # As every reader of secret files: the line break of an editor is no part of it.
  password=${password%"$(printf '\r')"}
  if [ -z "$password" ] || [ "$(printf %s "$password" | tr -d '[:cntrl:]')" != "$password" ]; then
    echo "users.sh: ERROR: $file: is empty, or holds line breaks or control characters" >&2
    exit 1
  fi
  hash=$(printf %s "$password" | sha256sum)
  echo "user $name on #${hash%% *} $*"
}

# What moves data: no administration, nothing that reaches beyond the keys or stops the server.
stage="~* &* +@all -@admin -@dangerous +info"

# Nobody can log in as it, but redis-server replays its append-only file as it: without these rights all that a script
# or a transaction has written since the last rewrite would be thrown away at each start, and single commands kept
# (https://github.com/redis/redis/issues/14541, https://github.com/valkey-io/valkey/issues/3983).
echo "user default off resetpass ~* &* +@all"
# For healthy.sh: it can do nothing but PING, which tells no more than that the port is open.
echo "user health on nopass nocommands +ping"
# The one that requests rewrites of the append-only file.
user extractor "$stage +bgrewriteaof"
user transformer "$stage"
user loader "$stage"
# It reads the state of the pipeline, and writes what it has proven and what of a feed is to be extracted again, in
# scripts too.
user verifier "%R~* ~*:verified ~*:verify_lease ~*:identity ~*:feed:* ~*:windows:* ~*:gaps:* ~*:rechecks:* ~*:history:* ~*:backfill:* ~*:backfills ~*:backfill_parts resetchannels nocommands +@read +@connection +@transaction" \
  "+info +eval_ro +evalsha_ro +eval +evalsha +script|load +time +set +hset +hsetnx +hincrby +sadd +srem +del"
# Its port is published: it can read and nothing else, in scripts too.
user etl-metrics "~* resetchannels nocommands +@read +@connection +info +eval_ro +evalsha_ro +eval +evalsha +script|load +time -@write"
user etlctl "$stage +bgrewriteaof +acl|log +acl|dryrun +client|list +restore"
