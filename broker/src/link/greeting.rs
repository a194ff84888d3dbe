//! The handshake: Hello, Welcome, Begin, or a refusal, as tagged fields of which unknown ones are skipped.

use std::sync::Arc;

use super::batch::TOPIC_HELLO;
use super::marks::Version;
use super::refusal::{Refusal, Why};
use super::settings::{Local, NAME_MAX, SHARDS_MAX};

/// Versions of the protocol that this broker speaks.
pub const VERSION_MIN: u8 = 1;
/// The newest of them.
pub const VERSION_MAX: u8 = 1;

/// What a side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speech {
    /// Versions of the protocol, oldest and newest.
    pub versions: (u8, u8),
    /// Bits for what a version leaves to choice; none is defined yet. One that the other side does not know is not used.
    pub capabilities: u64,
}

/// Which step of the handshake it is; the number is the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// The dialling side begins.
    Hello = 1,
    /// The accepting side answers.
    Welcome = 2,
    /// The dialling side tells what it has; both may send batches now.
    Begin = 3,
    /// Either side refuses.
    Refused = 4,
}

/// A step of the handshake. Fields that a step does not need are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The step.
    pub step: Step,
    /// What the sender speaks.
    pub speech: Speech,
    /// The sender's cluster name.
    pub cluster_name: Arc<str>,
    /// The sender's cluster id.
    pub cluster_id: Arc<str>,
    /// The sender's node.
    pub node: Arc<str>,
    /// The sender's life.
    pub incarnation: u64,
    /// The sender's shards.
    pub shards: u8,
    /// The name of the cluster, or of the node of its own cluster, that the sender believes it speaks to.
    pub target: Arc<str>,
    /// The sender's lanes: number, life.
    pub lanes: Vec<(u8, u64)>,
    /// What the sender took of the receiver's lanes: number, life, place.
    pub taken: Vec<(u8, u64, u64)>,
    /// The version and digest of the receiver's interest that the sender holds.
    pub held: (Version, u64),
    /// Why it is refused.
    pub refusal: Option<(u8, String)>,
}

/// Lanes that a greeting may name.
const LANES_MAX: usize = 32;

const TAG_VERSIONS: u8 = 1;
const TAG_CAPABILITIES: u8 = 2;
const TAG_CLUSTER_NAME: u8 = 3;
const TAG_CLUSTER_ID: u8 = 4;
const TAG_NODE: u8 = 5;
const TAG_INCARNATION: u8 = 6;
const TAG_TARGET: u8 = 7;
const TAG_LANE: u8 = 8;
const TAG_TAKEN: u8 = 9;
const TAG_HELD: u8 = 10;
const TAG_REFUSAL: u8 = 11;
const TAG_SHARDS: u8 = 12;

/// The answer for a connection that no link here is for: a topic and a payload, to be published with QoS 0 before
/// the DISCONNECT.
pub fn refuse(refusal: &Refusal, local: &Local) -> (&'static str, Vec<u8>) {
    let mut greeting = Greeting::new(Step::Refused, local, "");
    greeting.refusal = Some((refusal.why as u8, refusal.message.clone()));
    (TOPIC_HELLO, greeting.encode())
}

/// The newest version that both speak.
pub fn common_version(ours: (u8, u8), theirs: (u8, u8)) -> Option<u8> {
    let newest = ours.1.min(theirs.1);
    (newest >= ours.0.max(theirs.0)).then_some(newest)
}

// === impl Speech ===

impl Default for Speech {
    fn default() -> Self {
        Self { versions: (VERSION_MIN, VERSION_MAX), capabilities: 0 }
    }
}

// === impl Greeting ===

impl Greeting {
    /// A step from this node to the cluster or node of this name.
    pub fn new(step: Step, local: &Local, target: &str) -> Self {
        Self {
            step,
            speech: Speech::default(),
            cluster_name: local.cluster_name.clone(),
            cluster_id: local.cluster_id.clone(),
            node: local.node.clone(),
            incarnation: local.incarnation,
            shards: local.shards,
            target: target.into(),
            lanes: Vec::new(),
            taken: Vec::new(),
            held: Default::default(),
            refusal: None,
        }
    }

    /// What the sender of this greeting took of a lane of ours in this life; 0 if nothing.
    pub fn taken_of(&self, lane: u8, epoch: u64) -> u64 {
        self.taken.iter().find(|(number, life, _)| (*number, *life) == (lane, epoch)).map_or(0, |(_, _, place)| *place)
    }

    /// The refusal in it, if it is one.
    pub fn refused(&self) -> Option<Refusal> {
        let (code, message) = self.refusal.as_ref()?;
        let why = Why::from_code(*code).unwrap_or(Why::ProtocolError);
        Some(Refusal::new(why, message.clone()))
    }

    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.step as u8];
        let mut put = |tag: u8, parts: &[&[u8]]| {
            let len: usize = parts.iter().map(|part| part.len()).sum();
            let len = u16::try_from(len).expect("names are at most 255 bytes, refusals are cut");
            out.push(tag);
            out.extend_from_slice(&len.to_be_bytes());
            parts.iter().for_each(|part| out.extend_from_slice(part));
        };
        put(TAG_VERSIONS, &[&[self.speech.versions.0, self.speech.versions.1]]);
        put(TAG_CAPABILITIES, &[&self.speech.capabilities.to_be_bytes()]);
        put(TAG_CLUSTER_NAME, &[self.cluster_name.as_bytes()]);
        put(TAG_CLUSTER_ID, &[self.cluster_id.as_bytes()]);
        put(TAG_NODE, &[self.node.as_bytes()]);
        put(TAG_INCARNATION, &[&self.incarnation.to_be_bytes()]);
        put(TAG_SHARDS, &[&[self.shards]]);
        put(TAG_TARGET, &[self.target.as_bytes()]);
        for (lane, epoch) in &self.lanes {
            put(TAG_LANE, &[&[*lane], &epoch.to_be_bytes()]);
        }
        for (lane, epoch, place) in &self.taken {
            put(TAG_TAKEN, &[&[*lane], &epoch.to_be_bytes(), &place.to_be_bytes()]);
        }
        let (version, digest) = self.held;
        put(TAG_HELD, &[&version.epoch.to_be_bytes(), &version.number.to_be_bytes(), &digest.to_be_bytes()]);
        if let Some((code, message)) = &self.refusal {
            let end = message.floor_char_boundary(1024);
            put(TAG_REFUSAL, &[&[*code], &message.as_bytes()[..end]]);
        }
        out
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(payload: &[u8]) -> Result<Self, &'static str> {
        let (step, mut rest) = payload.split_first().ok_or("the greeting is empty")?;
        let step = Step::from_u8(*step).ok_or("the greeting is of an unknown kind")?;
        let nobody: Arc<str> = "".into();
        let mut greeting = Self {
            step,
            speech: Speech { versions: (0, 0), capabilities: 0 },
            cluster_name: nobody.clone(),
            cluster_id: nobody.clone(),
            node: nobody.clone(),
            incarnation: 0,
            shards: 0,
            target: nobody,
            lanes: Vec::new(),
            taken: Vec::new(),
            held: Default::default(),
            refusal: None,
        };
        while let Some(([tag, high, low], tail)) = rest.split_first_chunk::<3>() {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            let (value, tail) = tail.split_at_checked(len).ok_or("the greeting ends within a field")?;
            rest = tail;
            greeting.take(*tag, value).ok_or("a field of the greeting is malformed")?;
        }
        let named = |name: &str| (1..=NAME_MAX).contains(&name.len());
        let complete = match step {
            Step::Hello | Step::Welcome => {
                let names = [&greeting.cluster_name, &greeting.cluster_id, &greeting.node];
                names.into_iter().all(|name| named(name)) && (1..=SHARDS_MAX).contains(&greeting.shards)
            }
            Step::Begin => true,
            Step::Refused => greeting.refusal.is_some(),
        };
        match (rest, complete) {
            ([], true) => Ok(greeting),
            ([], false) => {
                Err("the greeting lacks a field, or a name has not 1 to 255 bytes, or there are not 1 to 64 shards")
            }
            ([..], true | false) => Err("the greeting ends within a field"),
        }
    }

    fn take(&mut self, tag: u8, value: &[u8]) -> Option<()> {
        let text = || std::str::from_utf8(value).ok();
        match tag {
            TAG_VERSIONS => {
                let [min, max] = value.first_chunk()?;
                self.speech.versions = (*min, *max);
            }
            TAG_CAPABILITIES => self.speech.capabilities = number(value, 0)?,
            TAG_CLUSTER_NAME => self.cluster_name = text()?.into(),
            TAG_CLUSTER_ID => self.cluster_id = text()?.into(),
            TAG_NODE => self.node = text()?.into(),
            TAG_INCARNATION => self.incarnation = number(value, 0)?,
            TAG_SHARDS => self.shards = *value.first()?,
            TAG_TARGET => self.target = text()?.into(),
            TAG_LANE if self.lanes.len() < LANES_MAX => self.lanes.push((*value.first()?, number(value, 1)?)),
            TAG_TAKEN if self.taken.len() < LANES_MAX => {
                self.taken.push((*value.first()?, number(value, 1)?, number(value, 9)?));
            }
            TAG_HELD => {
                self.held = (Version { epoch: number(value, 0)?, number: number(value, 8)? }, number(value, 16)?);
            }
            TAG_REFUSAL => {
                let (code, message) = value.split_first()?;
                self.refusal = Some((*code, String::from_utf8_lossy(message).into_owned()));
            }
            TAG_LANE | TAG_TAKEN => return None,
            // A field of a newer version.
            0..=u8::MAX => {}
        }
        Some(())
    }
}

fn number(value: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*value.get(at..)?.first_chunk()?))
}

// === impl Step ===

impl Step {
    fn from_u8(step: u8) -> Option<Self> {
        [Self::Hello, Self::Welcome, Self::Begin, Self::Refused].into_iter().find(|known| *known as u8 == step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(step: Step) -> Greeting {
        let local = Local {
            cluster_name: "here".into(),
            cluster_id: "id-1".into(),
            node: "n0".into(),
            incarnation: 1 << 40,
            shards: 3,
        };
        let mut greeting = Greeting::new(step, &local, "there");
        greeting.lanes = vec![(0, 7), (1, 8)];
        greeting.taken = vec![(0, 9, 1 << 33)];
        greeting.held = (Version { epoch: 3, number: 4 }, u64::MAX);
        greeting
    }

    #[test]
    fn a_greeting_comes_out_as_it_went_in() {
        for step in [Step::Hello, Step::Welcome, Step::Begin] {
            let greeting = greeting(step);
            assert_eq!(Greeting::decode(&greeting.encode()), Ok(greeting));
        }
        let mut refused = greeting(Step::Refused);
        refused.refusal = Some((Why::OwnCluster as u8, "a link to itself".into()));
        let back = Greeting::decode(&refused.encode()).expect("it was encoded just now");
        assert_eq!(back.refused(), Some(Refusal::new(Why::OwnCluster, "a link to itself")));
    }

    #[test]
    fn fields_of_a_newer_version_are_skipped() {
        let mut payload = greeting(Step::Hello).encode();
        payload.extend_from_slice(&[200, 0, 3, 1, 2, 3]);
        assert_eq!(Greeting::decode(&payload), Ok(greeting(Step::Hello)));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_refused_or_read_but_never_a_panic() {
        let payload = greeting(Step::Hello).encode();
        for end in 0..payload.len() {
            let _ = Greeting::decode(&payload[..end]);
        }
        for at in 0..payload.len() {
            for flip in [1, 0x80, 0xff] {
                let mut payload = payload.clone();
                payload[at] ^= flip;
                let _ = Greeting::decode(&payload);
            }
        }
    }

    #[test]
    fn the_newest_version_that_both_speak_is_chosen() {
        for (ours, theirs, chosen) in [((1, 1), (1, 1), Some(1)), ((1, 3), (2, 5), Some(3)), ((1, 1), (2, 3), None)] {
            assert_eq!(common_version(ours, theirs), chosen);
            assert_eq!(common_version(theirs, ours), chosen);
        }
    }
}
