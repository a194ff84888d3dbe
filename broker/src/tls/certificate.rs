//! The little of X.509 that is needed beside verification: a certificate's common name and its dates.

use std::ops::RangeInclusive;
use std::path::Path;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

use super::build::certificates;
use crate::clock::UnixSeconds;
use crate::config::TlsFiles;

/// What a certificate says about itself. Whether that is true, TLS verified before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The common name of the subject, without control characters; absent or empty: `None`.
    pub common_name: Option<String>,
    /// From when to when it is valid.
    pub valid: RangeInclusive<UnixSeconds>,
}

/// Sentences about certificates in `files` that are not valid `now`, or end within `soon` seconds: for the log.
pub fn expiring(files: &TlsFiles, now: UnixSeconds, soon: u64) -> Vec<String> {
    let mut found = Vec::new();
    for (path, pem) in files.certificate.iter().chain(&files.ca) {
        for certificate in parsed(path, pem) {
            let name = certificate.common_name.as_deref().unwrap_or("(no common name)");
            let (from, to) = (*certificate.valid.start(), *certificate.valid.end());
            let days = |seconds: u64| seconds / 86_400;
            let path = path.display();
            if now > to {
                found.push(format!("{path}: certificate `{name}` expired {} days ago; renew it", days(now.0 - to.0)));
            } else if now < from {
                found.push(format!(
                    "{path}: certificate `{name}` is not valid for {} days yet; look at the clock",
                    days(from.0 - now.0)
                ));
            } else if to.0 - now.0 < soon {
                found.push(format!("{path}: certificate `{name}` expires in {} days; renew it", days(to.0 - now.0)));
            }
        }
    }
    found
}

/// Each file of `files` with certificates, and until when it is good: a chain until its first certificate ends, authorities
/// until the last of them does, since others may take over from one that ends.
pub fn ends(files: &TlsFiles) -> impl Iterator<Item = (&Path, UnixSeconds)> {
    let end = |certificate: Certificate| *certificate.valid.end();
    let chain = files.certificate.iter().map(move |(path, pem)| (path, parsed(path, pem).map(end).min()));
    let authorities = files.ca.iter().map(move |(path, pem)| (path, parsed(path, pem).map(end).max()));
    chain.chain(authorities).filter_map(|(path, end)| Some((&**path, end?)))
}

fn parsed(path: &Path, pem: &[u8]) -> impl Iterator<Item = Certificate> {
    certificates(path, pem).unwrap_or_default().into_iter().filter_map(|der| Certificate::parse(&der))
}

/// Whether a certificate is for this DNS name, as a client would check that of a server.
pub fn is_for(der: &CertificateDer<'_>, name: &str) -> bool {
    let (Ok(certificate), Ok(name)) = (ParsedCertificate::try_from(der), ServerName::try_from(name)) else {
        return false;
    };
    verify_server_name(&certificate, &name).is_ok()
}

// === impl Certificate ===

impl Certificate {
    /// Reads a certificate; `None` when it isn't one.
    pub fn parse(der: &CertificateDer<'_>) -> Option<Self> {
        let mut outer = Der(der.as_ref());
        let mut certificate = outer.sequence()?;
        let mut body = certificate.sequence()?;
        body.skip_if(0xa0); // version
        body.any()?; // serial number
        body.sequence()?; // signature algorithm
        body.sequence()?; // issuer
        let mut validity = body.sequence()?;
        let valid = validity.time()?..=validity.time()?;
        let subject = body.sequence()?;
        Some(Self { common_name: common_name(subject), valid })
    }
}

/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

fn common_name(mut subject: Der<'_>) -> Option<String> {
    while let Some(mut set) = subject.tagged(0x31) {
        while let Some(mut attribute) = set.sequence() {
            let (Some((0x06, oid)), Some((tag, value))) = (attribute.any(), attribute.any()) else { continue };
            // UTF8String, PrintableString, IA5String
            if oid == COMMON_NAME && matches!(tag, 0x0c | 0x13 | 0x16) {
                let name = std::str::from_utf8(value).ok()?;
                let fine = !name.is_empty() && !name.chars().any(char::is_control);
                return fine.then(|| name.to_owned());
            }
        }
    }
    None
}

/// The rest of a DER encoding; every read takes one element from its front.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x84 => {
                let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = after;
                bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte))
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn tagged(&mut self, wanted: u8) -> Option<Der<'a>> {
        let (tag, content) = self.any()?;
        (tag == wanted).then_some(Der(content))
    }

    fn sequence(&mut self) -> Option<Der<'a>> {
        self.tagged(0x30)
    }

    fn skip_if(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.any();
        }
    }

    fn time(&mut self) -> Option<UnixSeconds> {
        let (tag, text) = self.any()?;
        let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (year, rest) = match tag {
            // UTCTime: 50 to 99 are of the last century (RFC 5280, 4.1.2.5.1).
            0x17 => {
                let (year, rest) = digits.split_at_checked(2)?;
                let year: u64 = year.parse().ok()?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            0x18 => {
                let (year, rest) = digits.split_at_checked(4)?;
                (year.parse().ok()?, rest)
            }
            _ => return None,
        };
        if rest.len() != 10 {
            return None;
        }
        let field = |place: usize| rest[place * 2..place * 2 + 2].parse::<u64>().ok();
        let days = days_since_1970(year, field(0)?, field(1)?)?;
        Some(UnixSeconds(days * 86_400 + field(2)? * 3_600 + field(3)? * 60 + field(4)?))
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; dates before are 0.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if year < 1970 {
        return Some(0);
    }
    let before_month = BEFORE_MONTH.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    let leap_days = (1970..year).filter(|year| leap(*year)).count() as u64 + u64::from(month > 2 && leap(year));
    Some((year - 1970) * 365 + leap_days + before_month + day.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_count_from_1970() {
        for ((year, month, day), days) in [
            ((1970, 1, 1), 0),
            ((1969, 7, 20), 0),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 23), 20_780),
            ((2100, 3, 1), 47_541),
        ] {
            assert_eq!(days_since_1970(year, month, day), Some(days), "{year}-{month}-{day}");
        }
        assert_eq!(days_since_1970(2000, 13, 1), None);
        assert_eq!(days_since_1970(2000, 0, 1), None);
    }

    #[test]
    fn times_are_read_in_both_forms_and_bytes_that_are_none_refused() {
        let utc = |text: &str| Der(&[&[0x17, text.len() as u8], text.as_bytes()].concat()).time();
        assert_eq!(utc("700101000001Z"), Some(UnixSeconds(1)));
        assert_eq!(utc("261123235959Z"), Some(UnixSeconds(20_781 * 86_400 - 1)));
        let general = |text: &str| Der(&[&[0x18, text.len() as u8], text.as_bytes()].concat()).time();
        assert_eq!(general("20500101000000Z"), Some(UnixSeconds(29_220 * 86_400)));
        for text in ["", "Z", "2Z", "70010100000Z", "7001010000011Z", "70010100000éZ"] {
            assert_eq!(utc(text), None, "{text}");
            assert_eq!(general(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn bytes_that_are_no_certificate_never_panic(bytes: Vec<u8>) {
            Certificate::parse(&CertificateDer::from(bytes));
        }
    }
}
