#!/bin/sh
# Puts a Consul for the tests into ${FAIRLEAD_TEST_TOOLS:-$HOME/.cache/fairlead-test}/consul and prints its path.
#
# Debian dropped Consul after bullseye, so the package comes from the bullseye suite of the Debian mirror that this
# machine is already configured for; apt verifies it with the machine's own keyring. Nothing is installed into the
# system: no root needed, no service started. A second run does nothing.
set -eu

suite=bullseye
tools="${FAIRLEAD_TEST_TOOLS:-$HOME/.cache/fairlead-test}"
target="$tools/consul"
binary="$target/usr/bin/consul"

runs() { "$1" version 2>/dev/null | grep -q '^Consul v'; }

if command -v consul >/dev/null 2>&1 && runs consul; then
  command -v consul
  exit 0
fi
if [ -x "$binary" ] && runs "$binary"; then
  echo "$binary"
  exit 0
fi
for tool in apt-get dpkg; do
  if ! command -v "$tool" >/dev/null 2>&1; then
    echo "install-consul: no $tool here: this script needs a Debian system. Put a consul on PATH instead." >&2
    exit 1
  fi
done

# The mirror is whichever site apt gets Debian's own main archive from.
debian_mirror() {
  apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(SITE)' 'Created-By: Packages' |
    awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" { print $4; exit }'
}
mirror="$(debian_mirror)"
if [ -z "$mirror" ]; then
  apt-get update >&2 || true # Lists were never fetched, as in a fresh container image.
  mirror="$(debian_mirror)"
fi
if [ -z "$mirror" ]; then
  echo "install-consul: apt knows no Debian mirror (apt-get indextargets names none with origin Debian)" >&2
  exit 1
fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root" "$tools"
: >"$work/status"

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
signed=''
[ -r "$keyring" ] && signed="[signed-by=$keyring]"
echo "deb $signed $mirror $suite main" >"$work/sources.list"

quiet_apt() {
  apt-get -qq \
    -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o "Dir::State::lists=$work/lists" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache" \
    -o APT::Sandbox::User= -o Acquire::Languages=none -o Acquire::Retries=3 "$@" >&2
}
quiet_apt update
(cd "$work" && quiet_apt download consul)
dpkg -x "$work"/consul_*.deb "$work/root"
runs "$work/root/usr/bin/consul" || {
  echo "install-consul: the unpacked consul does not run on this machine" >&2
  exit 1
}
rm -rf "$target"
mv "$work/root" "$target"
chmod 755 "$target"
echo "$binary"
