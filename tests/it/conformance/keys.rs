//! Keys of nobody for the cases about signatures, and a little shell around them.

/// Puts a folder `keys` into the case's: an OpenPGP key without and one with a passphrase
/// ("secret"), an Ed25519 key pair, and a script to be read by cases.
pub(super) const PRELUDE: &str = r#"
mkdir -p keys
cat >keys/open.asc <<'END'
-----BEGIN PGP PRIVATE KEY BLOCK-----

lFgEZZIAgBYJKwYBBAHaRw8BAQdANMm+gPJU4cgWqGCc6JH4GENyxhqVzOo1jFCf
5r5optoAAQCywLp91xyaTrlWD8CJTV3v1vkA+DindFGSMn6/2Jl97xHOtCNPcGVu
IEtleSAoY2FzZXMpIDxvcGVuQGV4YW1wbGUub3JnPoiQBBMWCAA4FiEE1gRokBtJ
rO40OBwWEOg8fILuhSMFAmWSAIACGwMFCwkIBwIGFQoJCAsCBBYCAwECHgECF4AA
CgkQEOg8fILuhSNIHAD+LkOCXhUOM6YHJmdRfNd5TYtcXucbxcyKWJtkesKKuSoB
AN0HS6b+Mnl2Q3+CVZ6l0PpbN0p/ayO3OuRd112ynxQC
=LSsG
-----END PGP PRIVATE KEY BLOCK-----
END
cat >keys/locked.asc <<'END'
-----BEGIN PGP PRIVATE KEY BLOCK-----

lIYEZZIAgBYJKwYBBAHaRw8BAQdAbkLQRc5i+RCyzCrARKs998qFUb48TznJ/zAi
3uhvbxD+BwMCJIcEeleiP/L/t5qdO7TojjnrDRJ6h6bRM1fJKRLt/USpitJvYsoV
2suqFGVx9BzBbDAOO+OiGGT2T/iSGJHUa3qYmLhL2rxzqjC+NeGznrQfTG9ja2Vk
IEtleSA8bG9ja2VkQGV4YW1wbGUub3JnPoiQBBMWCAA4FiEE7/89kKU14RR77a9J
jonJE+SCYZ8FAmWSAIACGwMFCwkIBwIGFQoJCAsCBBYCAwECHgECF4AACgkQjonJ
E+SCYZ/B7gEA9oRnO53EMGEbx6L3F2YB7WkHdzcmq0YmfhWSCacdDRwBAOiVu0tR
yGkup2txvH6jjnATMKO06LaXuIsRyH5a2bEF
=qKgx
-----END PGP PRIVATE KEY BLOCK-----
END
cat >keys/public.asc <<'END'
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEZZIAgBYJKwYBBAHaRw8BAQdANMm+gPJU4cgWqGCc6JH4GENyxhqVzOo1jFCf
5r5optq0I09wZW4gS2V5IChjYXNlcykgPG9wZW5AZXhhbXBsZS5vcmc+iJAEExYI
ADgWIQTWBGiQG0ms7jQ4HBYQ6Dx8gu6FIwUCZZIAgAIbAwULCQgHAgYVCgkICwIE
FgIDAQIeAQIXgAAKCRAQ6Dx8gu6FI0gcAP4uQ4JeFQ4zpgcmZ1F813lNi1xe5xvF
zIpYm2R6woq5KgEA3QdLpv4yeXZDf4JVnqXQ+ls3Sn9rI7c65F3XXbKfFAI=
=h8gO
-----END PGP PUBLIC KEY BLOCK-----
END
cat >keys/ed.pem <<'END'
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIC+Cwhzj++ykjyqSJW0X4tK7drpKOQ4cHLCA8ECtTtUu
-----END PRIVATE KEY-----
END
cat >keys/ed.pub <<'END'
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAChHxYS5iOazmFz8RZiTar4Z3XmcdcPMuc5284jUcYFE=
-----END PUBLIC KEY-----
END
cat >keys/setup <<'END'
# What a case makes goes away with it; a keyring of its own.
export APPTAINER_KEYSDIR=$T/ring
trap 'code=$?; rm -rf *.sif ring made.*; exit $code' EXIT
# image NAME: a definition and data in group 1.
image() {
  apptainer sif new "$1"
  echo "bootstrap: nothing" >made.def
  echo data >made.data
  apptainer sif add --datatype 1 --groupid 1 "$1" made.def
  apptainer sif add --datatype 7 --groupid 1 --filename data "$1" made.data
}
# change FILE OFFSET: another byte there.
change() {
  printf X | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
open() { apptainer key import keys/open.asc >/dev/null; }
END
"#;
