//! How the brokers of tests dial each other.

use tombolo_broker_api::{Dial, DialTls, Seconds};

/// These servers, as the user in the file `user` with the password in the file `password`.
pub fn dial(servers: Vec<String>, tls: Option<DialTls>) -> Dial {
    Dial {
        servers,
        client_id_prefix: "from-near".into(),
        username_file: Some("user".into()),
        password_file: Some("password".into()),
        tls,
        keep_alive: Seconds(5),
        max_inflight: 32,
        retry_interval: Seconds(1),
    }
}
