//! What is set for all nodes of a simulation.

use tombolo_broker_api as api;

use super::plan::Plan;
use crate::random::Random;
use crate::shard::Tuning;

/// The bounds and times of a schedule.
pub fn tuning(plan: &Plan, random: &mut Random) -> Tuning {
    Tuning { mqtt: mqtt(plan), cluster: cluster(plan, random) }
}

fn mqtt(plan: &Plan) -> api::Mqtt {
    if !plan.small {
        return api::Mqtt::default();
    }
    api::Mqtt {
        max_queued_messages: 5,
        max_queued_bytes: api::ByteSize(30_000),
        max_output_bytes: api::ByteSize(4_000),
        ..api::Mqtt::default()
    }
}

fn cluster(plan: &Plan, random: &mut Random) -> api::ClusterTuning {
    let usual = api::ClusterTuning::default();
    api::ClusterTuning {
        suspend_after: api::Seconds(1 + random.next() % 10),
        shared_subscriptions: *random
            .pick(&[api::SharedSubscriptions::RoundRobin, api::SharedSubscriptions::LocalFirst]),
        when_home_down: if plan.fresh { api::WhenHomeDown::Fresh } else { api::WhenHomeDown::Wait },
        max_outbox_bytes: if plan.small { api::ByteSize(20_000) } else { usual.max_outbox_bytes },
        ..usual
    }
}
