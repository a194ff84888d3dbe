//! Topic names and topic filters by section 4.7, subscriptions with their share, and the minimal cover of many filters.

mod children;
mod cover;
mod filter;
mod name;
mod subscription;

#[cfg(test)]
mod tests;

pub use self::{
    cover::{Cover, Delta},
    filter::Filter,
    name::{TopicError, check_name},
    subscription::Subscription,
};
