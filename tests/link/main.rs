//! Links between broker processes over a network that fails: nothing lost, nothing twice, order kept, faults named.

mod faults;
mod flow;
mod pair;
mod refusals;
mod rules;
mod versions;
