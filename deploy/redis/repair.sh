#!/bin/sh
# Makes an append-only file whole that Redis would refuse or apply half a script of:
#
#   repair.sh FOLDER        the folder of the manifest: /data/appendonlydir
#
# A crash can cut the file inside a script; Redis would start all the same and leave the script's open
# MULTI in the file, so that the start after next applies half of it. That torn tail is cut away, and the
# windows that it was part of are extracted again.
#
# A full disk can leave half a command in the middle, with everything since behind it. The same repair
# then cuts all of that away, so the whole folder is kept first, beside it, and the log says so. Without
# room for the copy nothing is repaired.
set -eu

# More than that is no torn tail: bytes, and parts of the file.
TAIL_BYTES=1048576
TAIL_PART=10

folder=$1
manifest=$folder/appendonly.aof.manifest
[ -s "$manifest" ] || exit 0

say() { echo "repair.sh: $*"; }

report=$(mktemp)
trap 'rm -f "$report"' EXIT
say "checking the append-only file"
if redis-check-aof "$manifest" >"$report" 2>&1; then
  exit 0
fi
cat "$report"

# The file that is damaged, its size, and how much the repair cuts away: the last that was analysed.
found=$(sed -n 's/^AOF analyzed: filename=\(.*\), size=\([0-9]*\), .*diff=\([0-9]*\)$/\2 \3 \1/p' "$report" | tail -n 1)
size=0 cut=0 damaged=
if [ -n "$found" ]; then
  read -r size cut damaged <<EOF
$found
EOF
fi

# Files that the repair does not touch are linked: they take no room.
keep() {
  mkdir "$1" || return 1
  for file in "$folder"/*; do
    if [ "${file##*/}" = "$damaged" ] || ! ln "$file" "$1/" 2>/dev/null; then
      cp -p "$file" "$1/" || return 1
    fi
  done
  sync
}

copy=

if [ "$cut" -eq 0 ] || [ "$cut" -gt "$TAIL_BYTES" ] || [ $((cut * TAIL_PART)) -gt "$size" ]; then
  copy=$(dirname "$folder")/damaged-$(date -u +%Y%m%dT%H%M%SZ)
  if ! keep "$copy"; then
    rm -rf "$copy"
    say "ERROR: $manifest is damaged and cannot be copied (is the disk full?): not repaired, because the repair would cut $cut of $size bytes away. Make room and start again; see docs/reliability.md"
    exit 1
  fi
  say "WARNING: $cut of $size bytes of $damaged follow the damage and are cut away. The whole is kept in $copy: remove it when it is not needed any more. Windows of that time are extracted again; dead letters of that time are only in the copy"
else
  say "the append-only file has a torn tail of $cut bytes: cutting it away"
fi
if ! yes | redis-check-aof --fix "$manifest"; then
  # Nothing was changed, and the next start would keep another.
  [ -z "$copy" ] || rm -rf "$copy"
  say "ERROR: $manifest cannot be repaired (above): see docs/reliability.md"
  exit 1
fi
