//! Where the programs under test lie: beside the folder of the running test.

use std::path::PathBuf;

/// Path of a program of the workspace. Panics with the command that builds it when it is not there.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("tests run from target/PROFILE/deps");
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `make test`, or build it with `cargo build -p tombolo -p tombolo-broker`",
        path.display()
    );
    path
}
