//! Leadership by a Lease: one process of several works, and one that lost the Lease ends.
//!
//! Whether another holder is alive is judged by how long its entry has not changed while we looked, never by comparing its
//! clock with ours: clocks disagree. The holder, in turn, gives up when it could not renew for a while that is shorter.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

/// The times of a Lease, which all follow from how long an entry is valid.
#[derive(Clone, Copy, Debug)]
pub struct Terms(u32);

// === impl Terms ===

impl Terms {
    /// Seconds for which an entry that does not change is valid.
    pub fn seconds(seconds: u32) -> Self {
        Self(seconds)
    }

    /// An entry that has not changed for this long is dead.
    fn duration(self) -> Duration {
        Duration::from_secs(self.0.into())
    }

    /// The holder gives up when it could not renew for this long.
    fn renew_deadline(self) -> Duration {
        self.duration() * 2 / 3
    }

    /// A try that takes longer is given up for another one: a connection may hang while the API server is well.
    fn attempt_max(self) -> Duration {
        self.renew_deadline() / 2
    }

    /// Between two tries.
    fn period(self) -> Duration {
        self.duration() * 2 / 15
    }
}

/// Who wants to lead.
#[derive(Clone)]
#[allow(missing_debug_implementations, reason = "a client has nothing to show")]
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    terms: Terms,
}

/// What was seen of the Lease, and when it was seen to change last.
#[derive(Debug, Default)]
struct Watched {
    entry: Option<(Option<String>, Option<MicroTime>)>,
    changed: Option<Instant>,
}

/// What came of a try to enter oneself into the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entered {
    /// This process leads.
    Leads,
    /// Another one does, as far as is known.
    Held,
    /// Somebody wrote the Lease meanwhile, perhaps this process itself with a request whose answer was lost.
    Overtaken,
}

// === impl Candidate ===

impl Candidate {
    /// A candidate for the Lease of that name; the identity must be no other process's.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, terms: Terms) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), identity: identity.to_owned(), terms }
    }

    /// Waits until this process leads; since when it does, is returned.
    pub async fn acquire(&self) -> Instant {
        let mut watched = Watched::default();
        loop {
            let asked = Instant::now();
            match self.attempt(&mut watched, asked).await {
                Ok(Entered::Leads) => return asked,
                Ok(Entered::Held | Entered::Overtaken) => {}
                Err(error) => tracing::warn!(%error, lease = self.name, "the Lease could not be read or written"),
            }
            sleep(self.terms.period()).await;
        }
    }

    /// Renews for as long as this process leads, which it does since then; it returns when it does so no longer.
    pub async fn hold(&self, since: Instant) {
        let mut watched = Watched::default();
        // A renewal counts from before it was asked for: others count from its entry, which its answer may follow much later.
        let mut renewed = since;
        let deadline = self.terms.renew_deadline();
        while renewed.elapsed() < deadline {
            sleep(self.terms.period()).await;
            let asked = Instant::now();
            let left = deadline.saturating_sub(renewed.elapsed()).min(self.terms.attempt_max());
            match timeout(left, self.attempt(&mut watched, asked)).await {
                Ok(Ok(Entered::Leads)) => renewed = asked,
                Ok(Ok(Entered::Held)) => {
                    tracing::warn!(lease = self.name, "another process holds the Lease");
                    return;
                }
                // The next look says who it was.
                Ok(Ok(Entered::Overtaken)) => {
                    tracing::warn!(lease = self.name, "the Lease was written by somebody else")
                }
                Ok(Err(error)) => tracing::warn!(%error, lease = self.name, "the Lease could not be renewed"),
                Err(_) => tracing::warn!(lease = self.name, "the Lease could not be renewed in time"),
            }
        }
    }

    /// Lets go, so that another process need not wait.
    pub async fn release(&self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(&self.identity) {
            spec.holder_identity = None;
            let _ = self.api.replace(&self.name, &PostParams::default(), &lease).await;
        }
    }

    /// Each write carries the version that was read, so that of two only one succeeds.
    async fn attempt(&self, watched: &mut Watched, now: Instant) -> Result<Entered, kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let mut lease = Lease { metadata, spec: None };
            self.enter(&mut lease);
            return entered(self.api.create(&PostParams::default(), &lease).await);
        };
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        if holder.as_deref() != Some(&self.identity) && !watched.is_dead(&lease, self.terms, now) {
            return Ok(Entered::Held);
        }
        self.enter(&mut lease);
        entered(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    fn enter(&self, lease: &mut Lease) {
        let now = MicroTime(jiff::Timestamp::now());
        let before = lease.spec.take().unwrap_or_default();
        let stays = before.holder_identity.as_deref() == Some(&self.identity);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.terms.0).ok(),
            acquire_time: if stays { before.acquire_time.clone() } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(!stays)),
            ..before
        });
    }
}

fn entered(written: Result<Lease, kube::Error>) -> Result<Entered, kube::Error> {
    match written {
        Ok(_) => Ok(Entered::Leads),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Entered::Overtaken),
        Err(error) => Err(error),
    }
}

// === impl Watched ===

impl Watched {
    fn is_dead(&mut self, lease: &Lease, terms: Terms, now: Instant) -> bool {
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref().unwrap_or_default().is_empty() {
            return true;
        }
        let entry = Some((spec.holder_identity, spec.renew_time));
        if self.entry != entry {
            (self.entry, self.changed) = (entry, Some(now));
        }
        let duration = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = duration.map_or(terms.duration(), Duration::from_secs);
        self.changed.is_some_and(|changed| now.duration_since(changed) >= duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, seconds: i64) -> Lease {
        let time = MicroTime(jiff::Timestamp::from_second(seconds).expect("a time"));
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(time),
            ..LeaseSpec::default()
        };
        Lease { metadata: ObjectMeta::default(), spec: Some(spec) }
    }

    #[test]
    fn a_holder_is_dead_when_its_entry_stands_still_whatever_its_clock_says() {
        let (mut watched, start) = (Watched::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let terms = Terms::seconds(15);
        // Its clock is years behind, then years ahead.
        assert!(!watched.is_dead(&lease("a", 1), terms, after(0)));
        assert!(!watched.is_dead(&lease("a", 3), terms, after(14)));
        assert!(!watched.is_dead(&lease("a", 9_000_000_000), terms, after(28)));
        assert!(!watched.is_dead(&lease("a", 9_000_000_000), terms, after(42)));
        assert!(watched.is_dead(&lease("a", 9_000_000_000), terms, after(43)));
        assert!(Watched::default().is_dead(&lease("", 1), terms, start), "nobody holds it");
    }

    #[test]
    fn the_holder_gives_up_before_others_take_over() {
        for terms in [5, 15, 60, 3_600].map(Terms::seconds) {
            assert!(terms.renew_deadline() + terms.period() < terms.duration());
            let twice = (terms.period() + terms.attempt_max()) * 2;
            assert!(
                twice - terms.attempt_max() < terms.renew_deadline(),
                "a try that hangs leaves time for another one"
            );
        }
    }
}
