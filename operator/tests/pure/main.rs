//! Tests of validate and plan as their users see them: manifests in, problems, files and child objects out.

mod acceptance;
mod common;
mod golden;
mod nodes;
mod properties;
mod released;
mod status;
