use rsa::RsaPrivateKey;
use rsa::pkcs1::{EncodeRsaPrivateKey as _, EncodeRsaPublicKey as _, LineEnding};
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};

use super::{PrivateKey, PublicKey, pem, random};

fn key() -> RsaPrivateKey {
    RsaPrivateKey::new(&mut random::System, 1024).unwrap()
}

#[test]
fn a_secret_travels_to_the_private_key() {
    let key = key();
    let private = key.to_pkcs1_pem(LineEnding::LF).unwrap();
    let public = key.to_public_key().to_pkcs1_pem(LineEnding::LF).unwrap();
    let public = PublicKey::parse(public.as_bytes(), "public").unwrap();
    // Text around the block does not matter.
    let around = format!("before\n{}after\n", *private);
    let private = PrivateKey::parse(around.as_bytes(), "private").unwrap();
    for len in [1, 32, 62, 63, 200] {
        let secret = vec![b'x'; len];
        let message = public.seal(&secret).unwrap();
        assert!(
            message.starts_with("-----BEGIN MESSAGE-----\n"),
            "{message}"
        );
        assert_eq!(private.open(message.as_bytes()).unwrap(), secret);
        let other = PrivateKey(self::key());
        assert_eq!(
            other.open(message.as_bytes()).unwrap_err().to_string(),
            "could not decrypt LUKS key: crypto/rsa: decryption error"
        );
    }
    for text in ["", "-----BEGIN MESSAGE-----\n-----END MESSAGE-----\n"] {
        assert!(private.open(text.as_bytes()).is_err());
    }
}

#[test]
fn what_is_no_key_is_told_in_the_usual_words() {
    let key = key();
    let private = |text: &str| {
        PrivateKey::parse(text.as_bytes(), "f")
            .unwrap_err()
            .to_string()
    };
    let public = |text: &str| {
        PublicKey::parse(text.as_bytes(), "f")
            .unwrap_err()
            .to_string()
    };
    assert_eq!(private("nothing"), "could not read f: no PEM data");
    assert_eq!(public(""), "could not read f: no PEM data");
    assert_eq!(
        private(&key.to_pkcs8_pem(LineEnding::LF).unwrap()),
        "x509: failed to parse private key (use ParsePKCS8PrivateKey instead for this key format)"
    );
    assert_eq!(
        public(
            &key.to_public_key()
                .to_public_key_pem(LineEnding::LF)
                .unwrap()
        ),
        "x509: failed to parse public key (use ParsePKIXPublicKey instead for this key format)"
    );
    let locked = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: \
                  AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    assert_eq!(
        private(locked),
        "passphrase protected pem files not supported"
    );
    let junk = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    assert!(private(junk).starts_with("asn1: structure error"));
}

#[test]
fn blocks_of_pem() {
    let bytes: Vec<u8> = (0..=255).collect();
    let text = pem::write("THING", &bytes);
    assert_eq!(pem::first(text.as_bytes()).unwrap().bytes, bytes);
    // The first that is whole counts.
    let cut = format!("-----BEGIN A-----\nAAAA\n{text}");
    assert_eq!(pem::first(cut.as_bytes()).unwrap().label, "THING");
    assert_eq!(
        pem::first(b"-----BEGIN A-----\n%%\n-----END A-----\n"),
        None
    );
}
