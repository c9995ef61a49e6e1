#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Makes all files beside it anew: certificates, a module, and its signatures (NAME.sig: what is behind the module then). The keys are thrown away.
# It takes openssl, binutils, xz, zstd and the kernel's sign-file (linux-kbuild-6.1).
set -eu
cd "$(dirname "$0")"
sign_file=${SIGN_FILE:-/usr/lib/linux-kbuild-6.1/scripts/sign-file}
keys=$(mktemp -d)
trap 'rm -rf "$keys"' EXIT

# certificate NAME KIND-OF-KEY OPENSSL-OPTIONS…
certificate() {
	name=$1 kind=$2
	shift 2
	openssl req -new -x509 -nodes -sha256 -days 36500 -newkey "$kind" -keyout "$keys/$name" -out "$name.pem" \
		-subj "/O=VESPER/CN=test $name" -addext basicConstraints=critical,CA:FALSE "$@" 2> /dev/null
}
certificate rsa rsa:2048 -set_serial 4711
certificate other rsa:2048
certificate weak rsa:1024
# Named as rsa is, with a key of its own.
certificate twin rsa:2048 -set_serial 4711 -subj "/O=VESPER/CN=test rsa"
certificate p256 ec -pkeyopt ec_paramgen_curve:P-256
certificate p384 ec -pkeyopt ec_paramgen_curve:P-384
certificate p521 ec -pkeyopt ec_paramgen_curve:P-521
certificate ed25519 ed25519

as --64 -o module.ko module.s
strip --strip-debug module.ko
size=$(stat -c %s module.ko)

# behind FILE NAME: what sign-file put behind the module.
behind() {
	tail -c +$((size + 1)) "$1" > "$2.sig"
}
# signed NAME KEY SIGN-FILE-OPTIONS…
signed() {
	name=$1 key=$2
	shift 2
	"$sign_file" "$@" "$keys/$key" "$key.pem" module.ko "$keys/signed.ko"
	behind "$keys/signed.ko" "$name"
}
signed sha256 rsa sha256
signed sha384 rsa sha384
signed sha512 rsa sha512
signed sha1 rsa sha1
signed key-id rsa -k sha256
signed other other sha256
signed other-key-id other -k sha256
signed twin twin sha256
signed p256 p256 sha256
signed p384 p384 sha384
signed p384-sha256 p384 sha256

# appended NAME OPENSSL-OPTIONS…: what sign-file does not make.
appended() {
	name=$1
	shift
	openssl cms -sign -binary -nosmimecap -nocerts -outform DER -in module.ko -out "$keys/cms" "$@"
	length=$(stat -c %s "$keys/cms")
	{
		cat "$keys/cms"
		printf '\0\0\2\0\0\0\0\0\0\0'
		printf "\\$(printf %o $((length / 256)))\\$(printf %o $((length % 256)))"
		echo '~Module signature appended~'
	} > "$name.sig"
}
rsa="-signer rsa.pem -inkey $keys/rsa -md sha256"
appended by-openssl -noattr $rsa
appended attributes $rsa
appended content -noattr -nodetach $rsa
appended two -noattr $rsa -signer other.pem -inkey "$keys/other"

cat module.ko sha256.sig | xz --check=crc32 > signed.ko.xz
cat module.ko sha256.sig | zstd -q > signed.ko.zst
# As DKMS and openssl leave them.
openssl x509 -in rsa.pem -outform DER -out rsa.der
openssl x509 -in p384.pem -text -out p384-text.pem
