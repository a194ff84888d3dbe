//! Tests of the operator over a real API server; `make e2e-api` builds what they need and runs them.
//!
//! `kube-tests [NAME…]` runs those whose names contain one of the words, `kube-tests --bench` many objects at once,
//! `kube-tests --node` the end-to-end steps on a node with containers. What is missing is said, and nothing is skipped.

mod alerts;
mod api_faults;
mod api_proxy;
mod autoscale;
mod bad_input;
mod bench;
mod chart;
mod charts;
mod clocks;
mod crd_changes;
mod e2e;
mod extras;
mod faults;
mod house;
mod killed;
mod kubelet;
mod links;
mod node;
mod plane;
mod reconcile;
mod rights;
mod rivals;
mod rollout;
mod sandbox;
mod snapshot;
mod story;
mod tools;
mod traffic;
mod volumes;
mod watchman;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use plane::Plane;
use watchman::Watchman;

type Test = (&'static str, fn(Arc<Plane>) -> Pin<Box<dyn Future<Output = ()>>>);

/// Tests at one time: most of their time they wait.
const AT_ONE_TIME: usize = 4;

macro_rules! tests {
    ($($module:ident: $($name:ident)+;)+) => {
        const TESTS: &[Test] = &[$($((stringify!($name), |plane| Box::pin($module::$name(plane)))),+),+];
    };
}

/// Those that change the CRDs come first, one after another; the first of all needs an API server without them.
const ALONE: usize = 3;

tests! {
    faults:
        missing_crds_are_named_and_awaited;
    crd_changes:
        a_newer_crd_replaces_an_older_one_with_objects_there_and_the_operator_goes_on
        a_crd_that_vanishes_under_the_operator_is_named_and_the_operator_goes_on_when_it_is_back;
    chart:
        the_chart_refuses_what_it_does_not_know_and_its_objects_are_what_the_api_server_takes
        a_crd_of_an_older_release_does_not_replace_a_newer_one;
    charts:
        the_charts_pass_helm_lint_and_are_of_the_release_of_the_programs
        the_schemas_of_the_values_are_closed_at_every_level_and_know_what_the_values_have
        the_chart_of_a_cluster_refuses_what_can_not_work_and_says_where
        the_chart_of_a_cluster_makes_objects_that_the_api_server_takes
        the_notes_name_the_next_commands_and_warn_of_risky_values
        the_health_of_argo_cd_is_that_of_kstatus
        the_workflows_are_what_github_takes;
    alerts:
        every_alert_fires_when_it_should_and_is_silent_when_it_should_not
        alerts_can_be_left_out_and_given_labels
        alerts_rest_on_documented_metrics_and_have_a_page
        dashboards_rest_on_documented_metrics_and_every_panel_is_described;
    story:
        two_clusters_link_and_each_message_reaches_both_sides_once
        a_changed_password_and_a_changed_link_reach_the_broker_without_a_restart
        three_nodes_are_one_broker
        three_nodes_on_each_side_link_and_each_message_reaches_each_listener_once;
    reconcile:
        what_is_removed_or_edited_comes_back_and_what_is_foreign_stays
        nothing_is_written_when_nothing_changed
        a_missing_secret_is_named_and_awaited
        an_object_of_somebody_else_is_left_alone_and_said
        the_operator_writes_no_spec_and_others_apply_without_conflict
        a_paused_cluster_is_left_alone
        a_deleted_cluster_leaves_nothing_though_its_brokers_do_not_answer
        what_is_not_wanted_any_more_is_removed
        the_scale_subresource_scales
        overrides_that_make_no_pod_change_nothing;
    rollout:
        an_update_replaces_one_pod_after_another_from_the_top
        a_cluster_that_states_no_image_gets_the_one_that_the_operator_was_given
        a_broken_image_stops_an_update_and_a_mended_one_goes_on
        fewer_nodes_leave_one_after_another_and_a_deadline_is_said
        a_session_outlives_an_update_of_every_node_with_what_waits_for_it;
    extras:
        what_prometheus_and_cert_manager_are_asked_for_waits_for_their_kinds_and_follows_them;
    links:
        a_deleted_link_is_held_until_its_broker_has_let_it_go
        a_deleted_link_is_held_neither_by_silent_brokers_nor_by_a_cluster_that_is_gone
        a_paused_link_stays_as_it_is_while_its_cluster_goes_on
        a_change_of_an_object_that_is_gone_or_made_anew_is_refused_in_the_documented_ways;
    volumes:
        volumes_grow_while_their_pods_go_on
        a_class_that_lets_nothing_grow_is_named_and_awaited;
    faults:
        a_second_operator_waits_and_takes_over
        an_object_of_the_future_is_skipped_alone;
    api_faults:
        under_faults_of_the_api_server_the_same_is_made_without_a_storm_of_writes
        a_change_that_comes_while_a_write_is_not_answered_yet_is_not_lost;
    killed:
        an_operator_killed_at_any_write_of_a_new_cluster_ends_at_the_same_place
        an_operator_killed_at_any_write_of_a_rolling_update_ends_at_the_same_place
        an_operator_killed_at_any_write_of_a_change_of_nodes_ends_at_the_same_place;
    rivals:
        two_operators_with_different_leases_settle_and_do_not_fight
        a_leader_that_wakes_after_its_time_writes_nothing_more_and_ends
        a_renewal_that_was_answered_after_its_time_is_none
        a_renewal_that_fails_for_a_while_is_tried_again
        a_new_operator_says_of_what_is_well_nothing_else;
    clocks:
        an_operator_whose_clock_is_hours_ahead_works_and_renews_nothing
        an_operator_whose_clock_is_hours_behind_works_and_renews_nothing;
    bad_input:
        every_invalid_sample_is_refused_with_what_is_wrong
        what_only_the_operator_can_see_is_said_within_a_second
        the_longest_names_become_ready
        as_much_as_the_schema_allows_is_served_and_one_more_is_refused
        what_is_applied_while_the_operator_is_down_is_made_when_it_is_back;
    autoscale:
        an_autoscaler_sets_the_number_of_nodes_and_the_operator_does_not_fight_it;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tokio::task::LocalSet::new().run_until(run_all()).await
}

async fn run_all() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let assets = match plane::assets() {
        Ok(assets) => assets,
        Err(missing) => {
            eprintln!("{missing}");
            return ExitCode::from(2);
        }
    };
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("nobody was faster");
    match words.first().map(String::as_str) {
        Some("--node") => {
            if let Err(missing) = node::assets(&assets).and_then(|()| e2e::images()) {
                eprintln!("{missing}");
                return ExitCode::from(2);
            }
            return sandbox::run().await;
        }
        Some(sandbox::INSIDE) => {
            let (folder, group) = (words.get(1).expect("a folder"), words.get(2).expect("a group"));
            return e2e::run(&assets, Path::new(folder), group).await;
        }
        _ => {}
    }
    let begun = Instant::now();
    let plane = Arc::new(Plane::start(&assets).await);
    println!("the API server is ready after {:.1} s", begun.elapsed().as_secs_f64());
    let mut failed = Vec::new();
    let (alone, rest) = TESTS.split_at(ALONE);
    let bench = words.iter().any(|word| word == "--bench");
    let chosen = |test: &Test| !bench && (words.is_empty() || words.iter().any(|word| test.0.contains(word)));
    let pick = |tests: &[Test]| tests.iter().copied().filter(chosen).collect();
    failed.extend(run(&plane, pick(alone), 1).await);
    chart::install_crds(&plane).await;
    let watchman = Watchman::start(&plane).await;
    let begun = Instant::now();
    failed.extend(run(&plane, pick(rest), AT_ONE_TIME).await);
    if bench {
        bench::many_objects(Arc::clone(&plane)).await;
    }
    let seen = watchman.end(&plane).await;
    println!(
        "{} statuses were seen, all {}",
        seen.count,
        if seen.faults.is_empty() { "clean" } else { "but these clean" }
    );
    seen.faults.iter().take(20).for_each(|fault| println!("  {fault}"));
    let rights = rights::faults(&plane, words.is_empty());
    rights.iter().for_each(|fault| println!("  {fault}"));
    let ok = failed.is_empty() && seen.faults.is_empty() && rights.is_empty();
    println!(
        "{} after {:.0} s",
        if ok { "ok".to_owned() } else { format!("FAILED: {}", failed.join(", ")) },
        begun.elapsed().as_secs_f64()
    );
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Names of those that failed.
async fn run(plane: &Arc<Plane>, tests: Vec<Test>, at_one_time: usize) -> Vec<String> {
    let outcomes = futures::stream::iter(tests).map(|(name, test)| {
        let plane = Arc::clone(plane);
        async move {
            let begun = Instant::now();
            let outcome = tokio::task::spawn_local(test(plane)).await;
            let word = if outcome.is_ok() { "ok" } else { "FAILED" };
            println!("test {name} … {word} ({:.1} s)", begun.elapsed().as_secs_f64());
            outcome.err().map(|_| name.to_owned())
        }
    });
    outcomes.buffer_unordered(at_one_time).filter_map(|failed| async { failed }).collect().await
}
