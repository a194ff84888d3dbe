//! Programs that tests run and that are not ours: helm, promtool, actionlint, lua.

use std::path::PathBuf;
use std::process::{Command, Output};

/// A command of that program: from KUBEBUILDER_ASSETS, from what `make kube` built, or from the PATH.
pub fn command(name: &str) -> Command {
    let built = crate::plane::cache().map(|folder| folder.join(name));
    let given = std::env::var_os("KUBEBUILDER_ASSETS").map(|folder| PathBuf::from(folder).join(name));
    let found = given.into_iter().chain(built).find(|program| program.is_file());
    Command::new(found.unwrap_or_else(|| PathBuf::from(name)))
}

/// Runs it to its end.
pub fn run(command: &mut Command) -> Output {
    let program = command.get_program().to_string_lossy().into_owned();
    command.output().unwrap_or_else(|error| panic!("{program} does not start: {error}; run `make kube`, or install it"))
}

/// Runs it to its end, which must be good; what it printed.
pub fn run_well(command: &mut Command) -> String {
    let output = run(command);
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}
