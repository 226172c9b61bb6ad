#!/bin/sh
# sbom.sh NAME VERSION [FILE [PACKAGE...]]: what an image is made of, in SPDX 2.3: the program itself
# and each Debian package with its version, as dpkg knows them here; all of them unless they are given.
# FILE is /usr/share/sbom/NAME.spdx.json by default. The image's label dev.podspy.sbom says where it is.
set -eu
name=$1 version=$2 out=${3:-/usr/share/sbom/$1.spdx.json}
shift "$(($# < 3 ? $# : 3))"
mkdir -p "$(dirname "$out")"
created=$(date -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y-%m-%dT%H:%M:%SZ)
# shellcheck disable=SC2016 # dpkg's own variables
dpkg-query -W -f '${Package}\t${Version}\t${Architecture}\t${source:Package}\n' "$@" | sort |
    awk -F '\t' -v name="$name" -v version="$version" -v created="$created" '
        function package(id, called, is, purl) {
            printf "%s    {\"SPDXID\": \"SPDXRef-%s\", \"name\": \"%s\", \"versionInfo\": \"%s\",\n", \
                n++ ? ",\n" : "", id, called, is
            printf "     \"downloadLocation\": \"NOASSERTION\", \"filesAnalyzed\": false,\n"
            printf "     \"externalRefs\": [{\"referenceCategory\": \"PACKAGE-MANAGER\","
            printf " \"referenceType\": \"purl\",\n       \"referenceLocator\": \"%s\"}]}", purl
            all = all (all == "" ? "" : ", ") "\"SPDXRef-" id "\""
        }
        function escaped(text) { gsub(/\+/, "%2B", text); gsub(/:/, "%3A", text); return text }
        BEGIN {
            printf "{\"spdxVersion\": \"SPDX-2.3\", \"dataLicense\": \"CC0-1.0\", \"SPDXID\": \"SPDXRef-DOCUMENT\",\n"
            printf "  \"name\": \"%s-%s\",\n", name, version
            printf "  \"documentNamespace\": \"https://podspy.dev/sbom/%s-%s-%s\",\n", name, version, created
            printf "  \"creationInfo\": {\"created\": \"%s\", \"creators\": [\"Tool: podspy-sbom\"]},\n", created
            printf "  \"packages\": [\n"
            package(name, name, version, "pkg:generic/" name "@" version)
        }
        {
            id = $1
            gsub(/\+/, ".plus.", id)
            package("deb-" id, $1, $2, \
                "pkg:deb/debian/" escaped($1) "@" escaped($2) "?arch=" $3 "&upstream=" escaped($4))
        }
        END { printf "\n  ],\n  \"documentDescribes\": [%s]\n}\n", all }' >"$out"
chmod 0644 "$out"
