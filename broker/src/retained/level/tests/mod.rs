//! Tests of levelling: nodes in a simulated network, single cases, and bytes.

mod bytes;
mod cases;
mod joining;
mod storms;
mod world;
