//! X.509 certificates that vouch for the key of a signer.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::raw_key::{PublicKey, pem_blocks};

/// The purpose that a certificate has to be for, if it says what it is for: signing of code, as the
/// content of a DER-encoded object identifier.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

/// Object identifiers, encoded as DER: the list of purposes, any purpose.
const PURPOSES: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x25];
const ANY_PURPOSE: &[u8] = &[0x06, 0x04, 0x55, 0x1d, 0x25, 0x00];

/// Why a certificate does not vouch for a key; in Apptainer's words where it has the same.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file has no PEM block.
    #[error("failed to decode PEM")]
    Pem,
    /// A block is no certificate.
    #[error("x509: malformed certificate")]
    Malformed,
    /// Nobody who is trusted issued it.
    #[error("x509: certificate signed by unknown authority")]
    Authority,
    /// It is for something else.
    #[error("x509: certificate specifies an incompatible key usage")]
    Usage,
    /// It is not valid now.
    #[error("x509: certificate has expired or is not yet valid: {0}")]
    Time(String),
    /// Anything else.
    #[error("x509: {0}")]
    Other(String),
    /// Its key is of an unknown kind.
    #[error(transparent)]
    Key(#[from] super::raw_key::KeyError),
}

/// A certificate, unread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate(CertificateDer<'static>);

impl Certificate {
    /// The first certificate of a PEM file.
    ///
    /// # Errors
    /// [`CertificateError::Pem`] or [`CertificateError::Malformed`]
    pub fn from_pem(text: &[u8]) -> Result<Self, CertificateError> {
        let (_, der) = pem_blocks(text)
            .into_iter()
            .next()
            .ok_or(CertificateError::Pem)?;
        let der = CertificateDer::from(der);
        anchor_from_trusted_cert(&der).map_err(|_| CertificateError::Malformed)?;
        Ok(Self(der))
    }

    /// All certificates of a PEM file.
    ///
    /// # Errors
    /// As [`Certificate::from_pem`].
    pub fn pool_from_pem(text: &[u8]) -> Result<Vec<Self>, CertificateError> {
        let blocks = pem_blocks(text);
        if blocks.is_empty() {
            return Err(CertificateError::Pem);
        }
        let all = blocks.into_iter().map(|(_, der)| {
            let der = CertificateDer::from(der);
            anchor_from_trusted_cert(&der).map_err(|_| CertificateError::Malformed)?;
            Ok(Self(der))
        });
        all.collect()
    }

    /// The certificates that this machine trusts.
    pub fn system_pool() -> Vec<Self> {
        let found = rustls_native_certs::load_native_certs();
        found.certs.into_iter().map(Self).collect()
    }

    /// The key that the certificate is about, if a chain through `intermediates` leads to one of
    /// `roots` and it may sign code now.
    ///
    /// # Errors
    /// [`CertificateError`]
    pub fn key(
        &self,
        intermediates: &[Self],
        roots: &[Self],
    ) -> Result<PublicKey, CertificateError> {
        if roots.contains(self) {
            return self.as_root();
        }
        let anchors: Vec<TrustAnchor<'_>> = roots
            .iter()
            .filter_map(|root| anchor_from_trusted_cert(&root.0).ok())
            .collect();
        let between: Vec<CertificateDer<'_>> =
            intermediates.iter().map(|one| one.0.clone()).collect();
        let leaf = EndEntityCert::try_from(&self.0).map_err(|error| refusal(&error))?;
        leaf.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &anchors,
            &between,
            UnixTime::now(),
            KeyUsage::required_if_present(CODE_SIGNING),
            None,
            None,
        )
        .map_err(|error| refusal(&error))?;
        Ok(PublicKey::from_spki(&leaf.subject_public_key_info())?)
    }

    /// The key of a certificate that is trusted itself.
    fn as_root(&self) -> Result<PublicKey, CertificateError> {
        let contains = |what: &[u8]| self.0.windows(what.len()).any(|window| window == what);
        let mut signing = vec![0x06, 0x08];
        signing.extend_from_slice(CODE_SIGNING);
        if contains(PURPOSES) && !contains(&signing) && !contains(ANY_PURPOSE) {
            return Err(CertificateError::Usage);
        }
        let (from, to) = validity(&self.0).ok_or(CertificateError::Malformed)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        if !(from..=to).contains(&now) {
            let text = format!("it is valid from {from} to {to} in Unix seconds");
            return Err(CertificateError::Time(text));
        }
        let anchor = anchor_from_trusted_cert(&self.0).map_err(|_| CertificateError::Malformed)?;
        // The anchor has the content of the key's structure only.
        let key = wrapped(anchor.subject_public_key_info.as_ref());
        Ok(PublicKey::from_spki(&key)?)
    }
}

fn refusal(error: &webpki::Error) -> CertificateError {
    use webpki::Error;
    match error {
        Error::UnknownIssuer => CertificateError::Authority,
        Error::RequiredEkuNotFoundContext(_) => CertificateError::Usage,
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => {
            CertificateError::Time(error.to_string())
        }
        Error::CaUsedAsEndEntity => CertificateError::Other(
            "the certificate is one of an authority, and not among the trusted ones".to_owned(),
        ),
        Error::BadDer => CertificateError::Malformed,
        other => CertificateError::Other(other.to_string()),
    }
}

/// Puts the header of a DER sequence before `content`.
fn wrapped(content: &[u8]) -> Vec<u8> {
    let mut der = vec![0x30];
    match u8::try_from(content.len()) {
        Ok(short @ 0..=0x7f) => der.push(short),
        _ => {
            let length = (content.len() as u64).to_be_bytes();
            let digits: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
            der.push(u8::try_from(digits.len()).unwrap_or(8) | 0x80);
            der.extend_from_slice(&digits);
        }
    }
    der.extend_from_slice(content);
    der
}

/// Kind, content and rest of the DER value at the start of `der`.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if first & 0x80 == 0 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length = digits.iter().try_fold(0_usize, |length, digit| {
            length.checked_mul(256)?.checked_add(usize::from(*digit))
        })?;
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*kind, content, rest))
}

/// From when to when a certificate is valid, in Unix seconds.
fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate, _) = value(certificate)?;
    let (_, mut rest, _) = value(certificate)?;
    // A version, if there is one, then number, algorithm and issuer.
    if rest.first() == Some(&0xa0) {
        rest = value(rest)?.2;
    }
    for _ in 0..3 {
        rest = value(rest)?.2;
    }
    let (_, validity, _) = value(rest)?;
    let (kind, from, rest) = value(validity)?;
    let from = time(kind, from)?;
    let (kind, to, _) = value(rest)?;
    Some((from, time(kind, to)?))
}

/// `YYMMDDhhmmssZ`, or with four digits of the year.
fn time(kind: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match kind {
        0x17 => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            let century = if year < 50 { 2000 } else { 1900 };
            (year.checked_add(century)?, rest)
        }
        0x18 => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| -> Option<i64> {
        rest.get(at..at.checked_add(2)?)?
            .parse()
            .ok()
            .filter(|part: &i64| *part >= 0)
    };
    let (month, day) = (part(0)?, part(2)?);
    let clock = part(4)?
        .checked_mul(3600)?
        .checked_add(part(6)?.checked_mul(60)?)?
        .checked_add(part(8)?)?;
    days(year, month, day)?
        .checked_mul(86_400)?
        .checked_add(clock)
}

/// Days since 1970 of a date of the Gregorian calendar; a year begins in March here, so that the day
/// that comes and goes is its last.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let (year, month) = if month > 2 {
        (year, month.checked_sub(3)?)
    } else {
        (year.checked_sub(1)?, month.checked_add(9)?)
    };
    let leaps = year
        .div_euclid(4)
        .checked_sub(year.div_euclid(100))?
        .checked_add(year.div_euclid(400))?;
    let months = month.checked_mul(153)?.checked_add(2)?.div_euclid(5);
    year.checked_mul(365)?
        .checked_add(leaps)?
        .checked_add(months)?
        .checked_add(day)?
        .checked_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (kind, text, expected) in [
            (0x17, "700101000000Z", Some(0)),
            (0x17, "991231235959Z", Some(946_684_799)),
            (0x17, "491231235959Z", Some(2_524_607_999)),
            (0x18, "20240229120000Z", Some(1_709_208_000)),
            (0x18, "21000301000000Z", Some(4_107_542_400)),
            (0x18, "2024", None),
            (0x17, "700101000000", None),
            (0x02, "700101000000Z", None),
        ] {
            assert_eq!(time(kind, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn sequences() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![7; length];
            let der = wrapped(&content);
            assert_eq!(value(&der), Some((0x30, content.as_slice(), &[][..])));
            assert_eq!(value(der.split_last().unwrap().1), None);
        }
    }
}
