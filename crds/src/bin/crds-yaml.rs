//! Writes the CustomResourceDefinitions as YAML into the folder that is named, or into this crate's own.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    for (file, yaml) in tombolo_crds::yaml::files() {
        let path = folder.join(file);
        if let Err(error) = std::fs::write(&path, yaml) {
            eprintln!("cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
        println!("{}", path.display());
    }
    ExitCode::SUCCESS
}
