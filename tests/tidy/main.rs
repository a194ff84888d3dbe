//! What a machine can check of the house: layers, sizes, first sentences, unused files, named dependencies.

mod crates;
mod dependencies;
mod first_sentence;
mod layers;
mod size;
mod source;
mod tree;
mod unused;
mod unwrap;
mod words;

use tree::File;

/// Runs a check over the whole repository and fails with all that it found.
fn check_house(check: impl Fn(&[File]) -> Vec<String>) {
    let faults = check(&tree::read());
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn modules_use_only_layers_below_theirs() {
    check_house(layers::check);
}

#[test]
fn crates_depend_only_on_crates_below_theirs() {
    check_house(crates::check);
}

#[test]
fn files_are_not_above_500_lines() {
    check_house(size::check);
}

#[test]
fn files_begin_with_a_sentence_that_says_what_they_are() {
    check_house(first_sentence::check);
}

#[test]
fn production_code_does_not_unwrap() {
    check_house(unwrap::check);
}

#[test]
fn every_file_is_used() {
    check_house(unused::check);
}

#[test]
fn every_dependency_is_used_and_named_with_its_reason() {
    check_house(dependencies::check);
}

#[test]
fn words_that_do_not_belong_here_do_not_appear() {
    check_house(words::check);
}
