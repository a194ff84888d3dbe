//! `tombolo up` end to end: manifests good and bad, a change of file, signals; and the commands beside it.

mod bad_manifests;
mod changes;
mod commands;
mod nodes;
mod signals;

use tombolo_tests::up::{Up, example};

/// The manifests of the story on free ports.
fn story() -> Vec<(String, String)> {
    example("hybrid-cloud", &[1883, 2883])
}

/// A running story.
async fn up() -> Up {
    let manifests = story();
    Up::start(&borrow(&manifests)).await
}

fn borrow(manifests: &[(String, String)]) -> Vec<(&str, &str)> {
    manifests.iter().map(|(name, text)| (&**name, &**text)).collect()
}
