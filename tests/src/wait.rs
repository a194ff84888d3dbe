//! Waiting for a condition, with an end.

use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

/// How long anything on one machine may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Awaits the first `Some`. Panics with `what` after [`PATIENCE`].
#[track_caller]
pub fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> impl Future<Output = T>
where
    F: Future<Output = Option<T>>,
{
    let at = Location::caller();
    async move {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for: {what} (at {at})");
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// Awaits a condition. Panics with `what` after [`PATIENCE`].
#[track_caller]
pub fn until_true<F>(what: &str, mut look: impl FnMut() -> F) -> impl Future<Output = ()>
where
    F: Future<Output = bool>,
{
    until(what, move || {
        let looked = look();
        async move { looked.await.then_some(()) }
    })
}

/// Awaits a future, but not for ever. Panics with `what` after [`PATIENCE`].
#[track_caller]
pub fn within<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let at = Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(value) => value,
            Err(_) => panic!("waited {PATIENCE:?} in vain for: {what} (at {at})"),
        }
    }
}
