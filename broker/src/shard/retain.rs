//! What is retained, on its way into the store of retained messages.

use super::Shard;
use super::publication::Publication;
use crate::clock;
use crate::metrics::Dropped;
use crate::retained::Outcome;
use crate::store::Change;

// === impl Shard ===

impl Shard {
    /// Retains a publication as the last one of its topic, or removes that if it has no payload `[MQTT-3.3.1-5]`.
    ///
    /// It is stored before its receivers are looked up, and who subscribes is in the index before it asks what is
    /// retained: so nobody misses it, and somebody may see it twice.
    ///
    /// It gets its stamp here, unless another node gave it one: the later stamp wins at every node.
    pub(super) fn retain(&mut self, publication: &mut Publication<'_>) {
        let stamp = publication.passage.stamp.unwrap_or_else(|| self.shared.stamps.now(clock::unix_micros()));
        publication.passage.stamp = Some(stamp);
        let topic = publication.layout.topic(publication.frame);
        let Ok(topic) = std::str::from_utf8(topic) else { return };
        let message = publication.kept();
        let kept = match self.shared.retained.set(topic, message.clone(), stamp, self.core.now) {
            Outcome::Stored | Outcome::Replaced => Some(&*message),
            Outcome::Removed => None,
            Outcome::Absent | Outcome::Stale => return,
            Outcome::TooManyMessages => {
                self.core.counters.drop_message(Dropped::RetainedFull);
                return;
            }
            // The older message of the topic is gone with it.
            Outcome::TooManyBytes => {
                self.core.counters.drop_message(Dropped::RetainedFull);
                None
            }
        };
        self.core.store.write(Change::Retained { topic, message: kept });
    }
}
