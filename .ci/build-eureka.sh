#!/bin/sh
# Builds the Eureka server of the tests (test/servers/eureka-server) into
# ${FAIRLEAD_TEST_TOOLS:-$HOME/.cache/fairlead-test}/eureka/eureka-server.jar, with its libraries and an archive of its
# classes beside it, and prints its path.
#
# Spring's and Netflix's artifacts come through whatever Maven repository this machine is configured for. A second run
# does nothing. Needs a JDK 17 and Maven; nothing is installed into the system.
set -eu

project="$(cd "$(dirname "$0")/.." && pwd)/test/servers/eureka-server"
tools="${FAIRLEAD_TEST_TOOLS:-$HOME/.cache/fairlead-test}"
target="$tools/eureka"
jar="$target/eureka-server.jar"
limit="${FAIRLEAD_EUREKA_BUILD_S:-300}"

# What the jar was built from is kept beside it, so that a change of the project, or of this script, builds a new one.
sum="$(find "$project" "$0" -type f | LC_ALL=C sort | xargs cat | sha256sum | cut -d ' ' -f 1)"
if [ -f "$jar" ] && [ "$(cat "$target/built-from" 2>/dev/null)" = "$sum" ]; then
  echo "$jar"
  exit 0
fi
for tool in mvn java timeout; do
  if ! command -v "$tool" >/dev/null 2>&1; then
    echo "build-eureka: no $tool here: a JDK 17 and Maven are needed" >&2
    exit 1
  fi
done

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
# A copy: Maven writes into its project, and this repository is not for that.
cp -r "$project/." "$work/"
# In our process group, so that what ends us ends it.
timeout --foreground --kill-after=10 "$limit" mvn -q -B -f "$work/pom.xml" -Dmaven.test.skip=true package >&2
java -Djarmode=tools -jar "$work/target/eureka-server.jar" extract --destination "$work/eureka" >&2
rm -rf "$target"
mkdir -p "$tools"
mv "$work/eureka" "$target"
# Classes that need no parsing halve what a start costs. Java checks their paths: written where they will be used. Without
# the archive the server starts all the same.
timeout --foreground --kill-after=10 60 java -XX:ArchiveClassesAtExit="$target/eureka-server.jsa" -Dspring.context.exit=onRefresh \
  -XX:+UseSerialGC -Xlog:disable -jar "$jar" --server.address=127.0.0.1 --server.port=0 \
  --eureka.client.register-with-eureka=false --eureka.client.fetch-registry=false >/dev/null 2>&1 ||
  echo 'build-eureka: no archive of its classes' >&2
echo "$sum" >"$target/built-from"
echo "$jar"
