//! Who a connection is and what it may do: the decision is pure, only the hashing of passwords takes time.

mod access;
mod refusal;
mod rules;
mod verify;

use std::sync::Arc;

pub use access::{may_publish, may_subscribe};
pub use refusal::Refusal;
pub use rules::{Attempt, Identity, Proof, Role};
pub use verify::{Busy, Verifier};

use crate::config::Loaded;
use rules::{Claim, Rules};

/// The users of one configuration. A new configuration makes a new one with the same [`Verifier`].
#[derive(Debug)]
pub struct Auth {
    rules: Rules,
    verifier: Arc<Verifier>,
}

// === impl Auth ===

impl Auth {
    /// Takes users, links and the rule for anonymous clients from a configuration.
    pub fn new(loaded: &Loaded, verifier: Arc<Verifier>) -> Self {
        Self { rules: Rules::new(loaded), verifier }
    }

    /// Finds out who is there, or why it is refused. An unknown user takes as long as a known one with a wrong password.
    pub async fn authenticate(&self, attempt: &Attempt<'_>) -> Result<Identity, Refusal> {
        let (user, proof) = match self.rules.claim(attempt) {
            Claim::Nobody => (None, Proof::None),
            Claim::Certificate(name) => (Some(name), Proof::Certificate),
            Claim::Password { user, password, known } => {
                let credential = known.unwrap_or_else(|| self.verifier.decoy(user, self.rules.decoys()));
                let fits = self.verifier.verify(user, password, credential).await.map_err(|Busy| Refusal::Busy)?;
                if !fits || known.is_none() {
                    return Err(Refusal::BadPassword);
                }
                (Some(user), Proof::Password)
            }
        };
        self.rules.decide(user, proof, attempt.link_from)
    }
}

#[cfg(test)]
mod tests;
