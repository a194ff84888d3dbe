//! Releases that differ: they agree on a version that both speak, pass over what they don't know, or refuse by name.

use tombolo_tests::broker::{self, Broker};
use tombolo_tests::client::Client;
use tombolo_tests::packet::{Connect, Publish};
use tombolo_tests::property;
use tombolo_tests::received::Message;

use crate::pair::{FILES, PASSWORD, USER, accepting};

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const REFUSED: u8 = 4;
const NO_COMMON_VERSION: u8 = 5;

fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("fields are short");
    [&[tag][..], &length.to_be_bytes(), value].concat()
}

/// The field of that tag.
fn find(message: &Message, tag: u8) -> Option<&[u8]> {
    let mut rest = &message.payload[1..];
    while let [found, high, low, after @ ..] = rest {
        let (value, next) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        if *found == tag {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// Calls `far` as `near` that speaks these versions, and says what it answered.
async fn call(far: &Broker, versions: [u8; 2]) -> (Client, Message) {
    let connect = Connect::new(5, "near-1").login(USER, PASSWORD).with(property::user("tombolo-link", "near"));
    let (mut client, _) = Client::connect(far.address, &connect).await;
    let hello = [
        vec![HELLO],
        field(1, &versions),
        // A capability and a field of times to come.
        field(2, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        field(200, b"unknown"),
        field(3, b"near"),
        field(4, b"id-of-near"),
        field(5, b"near-0"),
        field(6, &7_u64.to_be_bytes()),
        field(7, b"far"),
        field(12, &[1]),
    ];
    client.send(Publish::new(5, "$LINK/v1/hello", hello.concat()).bytes()).await;
    let answer = client.message().await;
    assert_eq!(answer.topic, "$LINK/v1/hello");
    (client, answer)
}

async fn far() -> Broker {
    let mut config = broker::config("far");
    config.links = vec![accepting("to-near", "near", &["t/#"])];
    Broker::start(config, &FILES).await
}

#[tokio::test]
async fn a_later_release_that_speaks_our_version_too_is_welcomed_and_what_only_it_knows_is_passed_over() {
    let far = far().await;
    let (_client, welcome) = call(&far, [1, 9]).await;
    assert_eq!(welcome.payload[0], WELCOME);
    assert_eq!(find(&welcome, 1), Some(&[1, 1][..]));
    assert_eq!(find(&welcome, 3), Some(&b"far"[..]));
}

#[tokio::test]
async fn a_release_without_a_version_in_common_is_refused_by_a_name_that_both_sides_show() {
    let far = far().await;
    let (mut client, refused) = call(&far, [2, 9]).await;
    assert_eq!(refused.payload[0], REFUSED);
    let why = find(&refused, 11).expect("a refusal says why");
    assert_eq!(why[0], NO_COMMON_VERSION);
    let sentence = String::from_utf8_lossy(&why[1..]).into_owned();
    assert!(sentence.contains('1') && sentence.contains('2') && sentence.contains('9'), "{sentence}");
    let disconnect = client.disconnected(0x83).await;
    assert!(disconnect.properties.text(0x1F).is_some_and(|reason| reason.starts_with("NoCommonVersion")));
    far.admin.link_failed("to-near", "NoCommonVersion").await;
    // It goes on for those that it understands.
    let (_client, welcome) = call(&far, [1, 1]).await;
    assert_eq!(welcome.payload[0], WELCOME);
}
