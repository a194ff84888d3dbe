//! Verifies passwords: plain ones at once, hashed ones on other threads, few at a time, and each only once.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use tokio::sync::Semaphore;

use crate::config::Credential;
use crate::metrics::Board;

/// Verifies passwords and remembers those that fitted. One for the life of a broker, shared by all shards.
pub struct Verifier {
    key: [u8; 32],
    /// Hashes computed at one time.
    hashing: Semaphore,
    /// Connections that compute or wait.
    queue: Semaphore,
    verified: Mutex<Verified>,
    board: Arc<Board>,
}

/// More connections wait for a slow hash than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Keyed hash of a user, its credential and a password that fits it. Without the key, which never leaves the process,
/// it tells nothing about the password; a user whose credential changes is not found by its old one.
type Tag = [u8; 32];

/// Tags of what was verified, in two generations: when the young one is full, the old one is forgotten.
#[derive(Default)]
struct Verified {
    young: HashSet<Tag>,
    old: HashSet<Tag>,
}

/// Connections that may wait for a slow hash; further ones are refused with Server busy.
const QUEUE_MAX: usize = 1024;

/// Verified passwords remembered in one of two generations: together 131,072, or 6 MiB.
const GENERATION_MAX: usize = 65_536;

// === impl Verifier ===

impl Verifier {
    /// A verifier with a random `key`, which computes `at_once` slow hashes at one time, at least one.
    pub fn new(key: [u8; 32], at_once: usize, board: Arc<Board>) -> Self {
        Self {
            key,
            hashing: Semaphore::new(at_once.clamp(1, QUEUE_MAX)),
            queue: Semaphore::new(QUEUE_MAX),
            verified: Mutex::default(),
            board,
        }
    }

    /// Whether `password` fits. A slow hash is computed by the blocking threads of the runtime it is called on, unless the
    /// same password was found to fit before.
    pub async fn verify(&self, user: &str, password: &[u8], credential: &Credential) -> Result<bool, Busy> {
        if let Credential::Plain(expected) = credential {
            return Ok(self.equal(expected.reveal(), password));
        }
        let tag = self.tag(user, password, credential);
        if self.remembers(&tag) {
            return Ok(true);
        }
        let _place = self.queue.try_acquire().map_err(|_| Busy)?;
        let _turn = self.hashing.acquire().await.map_err(|_| Busy)?;
        // Many connections of one user may have waited for the first of them.
        if self.remembers(&tag) {
            return Ok(true);
        }
        self.board.events.hash_password();
        let (password, credential) = (password.to_owned(), credential.clone());
        // Cancelled only when the runtime ends, and then nobody waits for the answer.
        let fits = tokio::task::spawn_blocking(move || fits(&password, &credential)).await.unwrap_or(false);
        if fits {
            self.verified().insert(tag);
        }
        Ok(fits)
    }

    /// The credential to try in place of an unknown user's; the same one for the same name.
    pub fn decoy<'a>(&self, user: &str, among: &'a [Credential]) -> &'a Credential {
        static NOTHING: std::sync::LazyLock<Credential> =
            std::sync::LazyLock::new(|| Credential::Plain(crate::config::Secret::new(*b"nothing")));
        let tag = self.mac(&[user.as_bytes()]).finalize().into_bytes();
        among.get(usize::from(tag[0]) % among.len().max(1)).unwrap_or(&NOTHING)
    }

    /// Compares keyed hashes, so that time tells nothing of where the two differ, nor of their lengths.
    fn equal(&self, expected: &[u8], given: &[u8]) -> bool {
        let expected = self.mac(&[expected]).finalize().into_bytes();
        self.mac(&[given]).verify_slice(&expected).is_ok()
    }

    fn tag(&self, user: &str, password: &[u8], credential: &Credential) -> Tag {
        let credential: [&[u8]; 2] = match credential {
            Credential::Plain(text) | Credential::Argon2(text) | Credential::Bcrypt(text) => [text.reveal(), &[]],
            Credential::Pbkdf2 { salt, hash, iterations: _ } => [salt.reveal(), hash.reveal()],
        };
        self.mac(&[user.as_bytes(), password, credential[0], credential[1]]).finalize().into_bytes().into()
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }

    fn remembers(&self, tag: &Tag) -> bool {
        self.verified().contains(tag)
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, Verified> {
        // A set of tags is whole at any time.
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

/// The slow part, without any state. A hash that was well-formed when it was loaded can't fail here.
fn fits(password: &[u8], credential: &Credential) -> bool {
    match credential {
        Credential::Plain(expected) => expected.reveal() == password,
        Credential::Argon2(hash) => Argon2::default().verify_password(password, hash.reveal_text()).is_ok(),
        Credential::Bcrypt(hash) => bcrypt::verify(password, hash.reveal_text()).unwrap_or(false),
        Credential::Pbkdf2 { iterations, salt, hash } => {
            let mut found = [0u8; 64];
            pbkdf2::pbkdf2_hmac::<Sha512>(password, salt.reveal(), *iterations, &mut found);
            // What differs is a hash: where it differs tells nothing about the password.
            hash.reveal() == found
        }
    }
}

// === impl Verified ===

impl Verified {
    fn insert(&mut self, tag: Tag) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(tag);
    }

    fn contains(&mut self, tag: &Tag) -> bool {
        if self.young.contains(tag) {
            return true;
        }
        let known = self.old.remove(tag);
        if known {
            // Who comes back is young again.
            self.insert(*tag);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_is_remembered_longer_than_who_does_not() {
        let tag = |n: u32| {
            let mut tag = [0; 32];
            tag[..4].copy_from_slice(&n.to_be_bytes());
            tag
        };
        let mut verified = Verified::default();
        for n in 0..3 * GENERATION_MAX as u32 {
            verified.insert(tag(n));
            assert!(verified.contains(&tag(0)));
        }
        assert!(!verified.contains(&tag(1)));
        assert!(verified.young.len() + verified.old.len() <= 2 * GENERATION_MAX);
    }

    #[tokio::test]
    async fn no_more_than_the_queue_holds_wait_for_a_slow_hash() {
        let verifier = Arc::new(Verifier::new([1; 32], 1, Arc::new(Board::new(1))));
        let hash = "$2b$04$abcdefghijklmnopqrstuuI.zMOJjHCY5kkTOk7gVTRHNQlmNMlwi";
        let credential: Credential = hash.parse().expect("a hash");
        let held = verifier.hashing.acquire().await.expect("never closed");
        let mut storm = tokio::task::JoinSet::new();
        for _ in 0..QUEUE_MAX + 7 {
            let (verifier, credential) = (Arc::clone(&verifier), credential.clone());
            storm.spawn(async move { verifier.verify("u", b"bcrypt-pw", &credential).await });
        }
        for _ in 0..7 {
            assert!(matches!(storm.join_next().await, Some(Ok(Err(Busy)))));
        }
        drop(held);
        assert!(storm.join_all().await.into_iter().all(|answer| answer == Ok(true)));
        // Who gave up waiting left its place.
        assert_eq!(verifier.queue.available_permits(), QUEUE_MAX);
    }
}
