#!/bin/sh
# Makes the certificates of the TLS tests anew. All but the expired one are valid from 2020 for a century and a half.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

certify() { # name, key, extension, last day, options of `openssl ca`
  name=$1 key=$2 extension=$3 last=$4
  shift 4
  openssl req -new -key "$key" -subj "/CN=$name" -out "$work/request"
  : > "$work/index"
  cat > "$work/ca.conf" <<CONF
[ca]
default_ca = test
[test]
database = $work/index
new_certs_dir = $work
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = extensions
[any]
commonName = supplied
[extensions]
$extension
CONF
  openssl ca -batch -notext -config "$work/ca.conf" -startdate 20200101000000Z -enddate "$last" \
    -in "$work/request" -out "$name.pem" "$@"
}
key "$work/ca.key"
key server.key
certify ca "$work/ca.key" 'basicConstraints = critical,CA:true' 21700101000000Z -selfsign -keyfile "$work/ca.key"
certify valid server.key 'subjectAltName = DNS:localhost,DNS:web.example,IP:127.0.0.1' 21700101000000Z -cert ca.pem -keyfile "$work/ca.key"
certify expired server.key 'subjectAltName = DNS:localhost,IP:127.0.0.1' 20200201000000Z -cert ca.pem -keyfile "$work/ca.key"
certify other-host server.key 'subjectAltName = DNS:elsewhere.example' 21700101000000Z -cert ca.pem -keyfile "$work/ca.key"
certify self-signed server.key 'subjectAltName = DNS:localhost,IP:127.0.0.1' 21700101000000Z -selfsign -keyfile server.key
