#!/bin/sh
# Hands an agent what it needs of the collector's data folder, and no more: the authority's
# certificate and the ingest token. The store, the authority's key and the read token stay behind.
# Runs as the collector's user; group 0 may read what it writes, so that an agent that is root
# without capabilities can.
set -eu
from=${1:-/var/lib/podspy-collector}
to=${2:-/run/podspy-credentials}
umask 027
for file in ca.pem ingest.token; do
    [ -s "$from/$file" ] || { echo "podspy-enroll: $from/$file is not there: is the collector up?" >&2; exit 1; }
    cp "$from/$file" "$to/.$file"
    chmod 0640 "$to/.$file"
    mv "$to/.$file" "$to/$file" # in one step: the agent reads it again when it changes
done
echo "podspy-enroll: ca.pem and ingest.token are in $to"
