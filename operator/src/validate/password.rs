//! The values of a Secret of users: passwords, or hashes in a form that the broker understands.

const ARGON2_KIB_MAX: u64 = 256 * 1024;
const ARGON2_PASSES_MAX: u64 = 16;
const PBKDF2_ITERATIONS_MAX: u64 = 5_000_000;
const BCRYPT_COSTS: std::ops::RangeInclusive<u64> = 4..=16;

/// Whether a value is a hash and not the password itself.
pub(super) fn is_hash(text: &str) -> bool {
    text.starts_with("$argon2") || text.starts_with("$7$") || bcrypt_rest(text).is_some()
}

/// Why the broker could not check a password against this value. The value is never repeated.
pub(super) fn fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("the password is empty; give one, or remove the user")
    } else if text.starts_with("$argon2") {
        argon2(text)
    } else if let Some(rest) = bcrypt_rest(text) {
        bcrypt(rest)
    } else if let Some(rest) = text.strip_prefix("$7$") {
        pbkdf2(rest)
    } else if text.starts_with("$6$") {
        Some(
            "hashes that begin with `$6$` (salted SHA-512) are not accepted; make the hash anew with mosquitto_passwd \
             of version 2, argon2 or bcrypt",
        )
    } else {
        None
    }
}

/// `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`, the PHC format.
fn argon2(text: &str) -> Option<&'static str> {
    const MALFORMED: &str = "it begins like an argon2 hash but is not well-formed \
                             (`$argon2id$v=19$m=…,t=…,p=…$SALT$HASH`); make the hash anew";
    let parts: Vec<_> = text.split('$').collect();
    let ["", "argon2id" | "argon2i" | "argon2d", version, costs, salt, hash] = parts.as_slice() else {
        return Some(MALFORMED);
    };
    let cost = |name: &str| {
        let found = costs.split(',').find_map(|cost| cost.strip_prefix(name)?.strip_prefix('='));
        found.and_then(|number| number.parse::<u64>().ok()).filter(|number| *number > 0)
    };
    let (Some(memory), Some(passes), Some(_)) = (cost("m"), cost("t"), cost("p")) else { return Some(MALFORMED) };
    if !matches!(*version, "v=16" | "v=19") || !is_base64(salt, 8) || !is_base64(hash, 10) {
        return Some(MALFORMED);
    }
    let costly = memory > ARGON2_KIB_MAX || passes > ARGON2_PASSES_MAX;
    costly.then_some("the argon2 hash asks for more than 256 MiB or 16 passes; make the hash anew with less")
}

fn bcrypt_rest(text: &str) -> Option<&str> {
    ["$2a$", "$2b$", "$2x$", "$2y$"].iter().find_map(|begin| text.strip_prefix(begin))
}

/// `12$` and then 22 characters of salt and 31 of hash.
fn bcrypt(rest: &str) -> Option<&'static str> {
    let well_formed = rest.split_once('$').filter(|(cost, hash)| {
        let of_the_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
        cost.len() == 2 && hash.len() == 53 && hash.bytes().all(of_the_alphabet)
    });
    let Some(cost) = well_formed.and_then(|(cost, _)| cost.parse::<u64>().ok()) else {
        return Some("it begins like a bcrypt hash but is not well-formed; make the hash anew");
    };
    let costly = !BCRYPT_COSTS.contains(&cost);
    costly.then_some("the bcrypt hash has a cost outside of 4 to 16; make the hash anew")
}

/// `101$SALT$HASH`, as mosquitto_passwd writes it.
fn pbkdf2(rest: &str) -> Option<&'static str> {
    const MALFORMED: &str = "it begins like a PBKDF2 hash of mosquitto but is not well-formed \
                             (`$7$ITERATIONS$SALT$HASH`); make the hash anew";
    let parts: Vec<_> = rest.split('$').collect();
    let [iterations, salt, hash] = parts.as_slice() else { return Some(MALFORMED) };
    let Some(iterations) = iterations.parse::<u64>().ok().filter(|count| *count > 0) else { return Some(MALFORMED) };
    // 64 bytes are 86 characters of base64 and two of padding.
    if !is_base64(salt, 1) || !is_base64(hash, 86) || hash.trim_end_matches('=').len() != 86 {
        return Some(MALFORMED);
    }
    let costly = iterations > PBKDF2_ITERATIONS_MAX;
    costly.then_some("the PBKDF2 hash asks for more than 5,000,000 iterations; make the hash anew with less")
}

fn is_base64(text: &str, characters_min: usize) -> bool {
    let text = text.trim_end_matches('=');
    text.len() >= characters_min && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_well_formed_hashes_pass() {
        let zeros = "A".repeat(86);
        for (text, hash) in [
            ("demo".to_owned(), false),
            ("$ecret".to_owned(), false),
            ("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$bGlnaHQgaGFzaCBvZiAxNg".to_owned(), true),
            ("$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie".to_owned(), true),
            (format!("$7$101$c2FsdHNhbHQ=${zeros}=="), true),
        ] {
            assert_eq!(fault(&text), None, "{text}");
            assert_eq!(is_hash(&text), hash, "{text}");
        }
    }

    #[test]
    fn broken_and_too_costly_hashes_are_named_without_being_repeated() {
        let zeros = "A".repeat(86);
        for (text, what) in [
            (String::new(), "empty"),
            ("$argon2id$nothing".to_owned(), "not well-formed"),
            ("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ".to_owned(), "not well-formed"),
            ("$argon2id$v=19$m=9999999,t=1,p=1$c29tZXNhbHQ$bGlnaHQgaGFzaCBvZiAxNg".to_owned(), "256 MiB"),
            ("$2b$04$short".to_owned(), "bcrypt"),
            ("$2b$31$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie".to_owned(), "4 to 16"),
            (format!("$7$0$c2FsdHNhbHQ=${zeros}=="), "not well-formed"),
            (format!("$7$9999999$c2FsdHNhbHQ=${zeros}=="), "5,000,000"),
            ("$7$101$c2FsdHNhbHQ=$Zm9v".to_owned(), "not well-formed"),
            ("$6$salt$hash".to_owned(), "SHA-512"),
        ] {
            let fault = fault(&text).expect(&text);
            assert!(fault.contains(what), "{text}: {fault}");
            assert!(text.is_empty() || !fault.contains(&text), "{text}: {fault}");
        }
    }
}
