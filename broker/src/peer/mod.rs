//! Client ids are unique in a cluster of nodes, and a session moves to the node where its client is.

mod bounds;
mod claims;
mod control;
mod delivery;
mod directory;
mod drain;
mod envelope;
mod forward;
mod give;
mod had;
mod head;
mod incoming;
mod lookup;
mod moves;
mod nodes;
mod order;
mod outlet;
mod record;
mod settle;
mod stats;
mod take;
mod trail;
mod wire;

#[cfg(test)]
mod sim;

pub use bounds::Settings;
pub use claims::Claims;
pub use directory::Directory;
pub use envelope::{Address, PAYLOAD_MAX, address};
pub use had::Entrance;
pub use head::{SessionHead, SubscriptionHead, WillHead};
pub use moves::{Lane, Moves, Pending};
pub use outlet::{Claim, Outlet, Refusal, Serve, Session, Verdict};
pub use stats::Stats;
pub use trail::{OTHERS, Since, Stay, Tag, Trail};
