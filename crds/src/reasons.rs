//! Reasons: the words that conditions, events and problems use, with what each means.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: &str = $word;)+

        /// Every reason with its meaning, in the order of this file.
        pub const ALL: &[(&str, &str)] = &[$(($word, concat!($($doc),+))),+];
    };
}

reasons! {
    /// Nothing is left to do.
    CONVERGED = "Converged";
    /// The object was not looked at yet.
    NOT_YET_OBSERVED = "NotYetObserved";
    /// The spec breaks a rule that the schema cannot state.
    INVALID = "Invalid";
    /// The schema knows the field or value, this release does not serve it.
    NOT_YET_SUPPORTED = "NotYetSupported";
    /// A Secret that the spec names does not exist in the namespace.
    SECRET_NOT_FOUND = "SecretNotFound";
    /// A Secret lacks a key.
    SECRET_KEY_MISSING = "SecretKeyMissing";
    /// The content of a Secret cannot be used.
    SECRET_INVALID = "SecretInvalid";
    /// `spec.config` is not what the broker understands.
    CONFIG_INVALID = "ConfigInvalid";
    /// A BrokerCluster that a link names does not exist in the namespace.
    CLUSTER_NOT_FOUND = "ClusterNotFound";
    /// The BrokerCluster of a link has problems itself, so that nothing is made from it.
    CLUSTER_INVALID = "ClusterInvalid";
    /// Two objects of one kind have the same name.
    DUPLICATE = "Duplicate";
    /// A link names the cluster that it starts from as its remote.
    LINK_TO_ITSELF = "LinkToItself";
    /// Two links, or a link and an entry of linkAccess, name the same remote cluster.
    REMOTE_NAMED_TWICE = "RemoteNamedTwice";
    /// A topic filter is not one, or is not allowed on a link.
    FILTER_INVALID = "FilterInvalid";
    /// A link carries nothing.
    NOTHING_TO_CARRY = "NothingToCarry";
    /// A user that the spec names is not in the Secret of users.
    USER_NOT_FOUND = "UserNotFound";
    /// One user stands for two remote clusters.
    USER_BOUND_TWICE = "UserBoundTwice";
    /// The remote cluster can neither be dialled nor come in.
    UNREACHABLE_BY_SPEC = "UnreachableBySpec";
    /// Every user of the cluster may come in as the remote cluster.
    ANY_USER_MAY_LINK = "AnyUserMayLink";
    /// The Secret of users and the one of a link hold different passwords for one user.
    PASSWORDS_DIFFER = "PasswordsDiffer";
    /// Two listeners want the same port.
    PORT_TAKEN = "PortTaken";
    /// A certificate is no longer valid.
    CERTIFICATE_EXPIRED = "CertificateExpired";
    /// Not enough nodes agree yet.
    WAITING_FOR_QUORUM = "WaitingForQuorum";
    /// Enough nodes agree.
    QUORUM_READY = "QuorumReady";
    /// Nodes are replaced one after another.
    ROLLING_UPDATE = "RollingUpdate";
    /// Sessions and connections leave a node before it stops.
    EVACUATING_SESSIONS = "EvacuatingSessions";
    /// A node was stopped although it was not empty in time.
    EVACUATION_DEADLINE_EXCEEDED = "EvacuationDeadlineExceeded";
    /// A change of the configuration waits for a restart.
    RESTART_REQUIRED = "RestartRequired";
    /// The image is older than what wrote the data.
    IMAGE_DOWNGRADE_REFUSED = "ImageDowngradeRefused";
    /// A node came back with old data.
    STALE_STORAGE = "StaleStorage";
    /// The cluster has no nodes because replicas is 0.
    HIBERNATING = "Hibernating";
    /// The operator leaves the object alone, by annotation.
    PAUSED_BY_ANNOTATION = "PausedByAnnotation";
    /// The link is switched off.
    DISABLED = "Disabled";
    /// The link is deleted, and what waits for the remote leaves first.
    DRAINING = "Draining";
    /// No connection with the remote cluster stands.
    REMOTE_UNREACHABLE = "RemoteUnreachable";
    /// The remote cluster refused the link's user.
    AUTHENTICATION_FAILED = "AuthenticationFailed";
    /// The remote cluster has another id than the spec pins.
    CLUSTER_ID_MISMATCH = "ClusterIDMismatch";
    /// The remote cluster has the id of this one.
    LOOP_DETECTED = "LoopDetected";
    /// Nothing of that kind is asked for by the spec.
    NOT_USED = "NotUsed";
    /// A node did not say lately how it is.
    NO_REPORT = "NoReport";
    /// Pods are being made, or are not ready yet.
    WAITING_FOR_PODS = "WaitingForPods";
    /// A pod fails again and again.
    POD_FAILING = "PodFailing";
    /// The next node waits until another one is ready.
    WAITING_FOR_NODE = "WaitingForNode";
    /// The next node is replaced once its pod has the annotation `tombolo.dev/replace`.
    WAITING_FOR_APPROVAL = "WaitingForApproval";
    /// Nodes are removed one after another.
    SCALING_DOWN = "ScalingDown";
    /// The nodes are taking over the newest configuration.
    CONFIG_PENDING = "ConfigPending";
    /// Child objects could not be read, written or removed; it is tried again.
    APPLY_FAILED = "ApplyFailed";
    /// The API server refuses a child object as the spec asks for it.
    CHILD_REFUSED = "ChildRefused";
    /// An object of that name exists and belongs to somebody else.
    NAME_TAKEN = "NameTaken";
    /// A kind that the spec asks for is not installed; it is looked for every few seconds.
    CRD_MISSING = "CRDMissing";
    /// The issuer has not made the certificate yet.
    CERTIFICATE_PENDING = "CertificatePending";
    /// Volumes are growing.
    VOLUME_RESIZING = "VolumeResizing";
    /// A volume is to grow, and the API server refuses it.
    VOLUME_EXPANSION_REFUSED = "VolumeExpansionRefused";
    /// A connection with the remote cluster stands.
    LINK_ESTABLISHED = "LinkEstablished";
    /// The sides tell each other what they want.
    SYNCING_INTEREST = "SyncingInterest";
    /// What waits for the remote is within its bounds.
    BACKLOG_WITHIN_BOUNDS = "BacklogWithinBounds";
    /// What waits for the remote is near its bound, or older than it may be.
    BACKLOG_HIGH = "BacklogHigh";
    /// A heartbeat crossed the link and came back.
    HEARTBEAT_RETURNED = "HeartbeatReturned";
    /// No heartbeat came back in time.
    HEARTBEAT_LOST = "HeartbeatLost";
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_reason_is_one_word_and_used_once() {
        let mut seen = std::collections::BTreeSet::new();
        for (word, meaning) in super::ALL {
            assert!(word.chars().all(|c| c.is_ascii_alphanumeric()), "{word}");
            assert!(seen.insert(word), "{word} twice");
            assert!(meaning.trim().ends_with('.'), "{word}: {meaning}");
        }
    }
}
