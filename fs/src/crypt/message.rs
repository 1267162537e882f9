//! The cryptographic message of a SIF: PEM around a DER octet string around RSA-OAEP blocks.

use rsa::Oaep;
use rsa::sha2::Sha256;

use super::{der, pem};

const LABEL: &str = "MESSAGE";

/// What OAEP with SHA-256 takes of a block.
const OVERHEAD: usize = 66;

/// How blocks are padded.
pub(super) fn padding() -> Oaep {
    Oaep::new::<Sha256>()
}

/// Bytes of a secret that a block of `size` bytes carries.
pub(super) fn chunk_len(size: usize) -> Option<usize> {
    size.checked_sub(OVERHEAD).filter(|len| *len > 0)
}

/// The blocks in `text`.
pub(super) fn parse(text: &[u8]) -> Option<Vec<u8>> {
    let block = pem::first(text).filter(|block| block.label == LABEL)?;
    der::enter(&block.bytes, der::OCTET_STRING).map(<[u8]>::to_vec)
}

/// The message with these blocks.
pub(super) fn format(blocks: &[u8]) -> String {
    pem::write(LABEL, &der::write(der::OCTET_STRING, blocks))
}
