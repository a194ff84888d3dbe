//! Running nodes and links as a table of text.

use tombolo_broker_api::{LinkState, LinkStatus, PeerState, PeerStatus, Status};

use crate::view::{View, owner};

/// Blanks between two columns.
const GAP: usize = 2;

/// A column: its header, which side its cells keep to, and how soon it goes when the width does not suffice (0: never).
struct Column(&'static str, Align, u8);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

use Align::{Left, Right};

const NODES: [Column; 12] = [
    Column("CLUSTER", Left, 0),
    Column("NODE", Left, 2),
    Column("LISTENERS", Left, 0),
    Column("CLIENTS", Right, 0),
    Column("SESSIONS", Right, 3),
    Column("SUBSCRIPTIONS", Right, 4),
    Column("RETAINED", Right, 5),
    Column("IN", Right, 0),
    Column("OUT", Right, 0),
    Column("DROPPED", Right, 6),
    Column("PEERS", Right, 0),
    Column("ADMIN", Left, 1),
];

const LINKS: [Column; 11] = [
    Column("LINK", Left, 0),
    Column("REMOTE", Left, 4),
    Column("STATE", Left, 0),
    Column("READY", Left, 0),
    Column("ROUND TRIP", Right, 3),
    Column("WANTED", Right, 1),
    Column("SERVED", Right, 2),
    Column("SPOOL", Right, 0),
    Column("SENT", Right, 0),
    Column("RECEIVED", Right, 0),
    Column("DROPPED", Right, 5),
];

/// The table, each line at most `width` characters: first less important columns go, then the ends of lines.
pub fn render(views: &[View], width: usize) -> Vec<String> {
    let mut lines = columns(&NODES, &views.iter().map(node).collect::<Vec<_>>(), width);
    let links: Vec<_> = views
        .iter()
        .flat_map(|view| view.status.iter().flat_map(|status| &status.links).map(move |link| (view, link)))
        .collect();
    if !links.is_empty() {
        lines.push(String::new());
        lines.extend(columns(
            &LINKS,
            &links.iter().map(|(view, status)| link(owner(views, view), status)).collect::<Vec<_>>(),
            width,
        ));
    }
    for view in views {
        for peer in view.status.iter().flat_map(|status| &status.peers).filter(|peer| !peer.ready) {
            lines.push(format!("{}/{}: {}", view.node, peer.node, missing(peer)));
        }
    }
    for (view, link) in links.into_iter().filter(|(_, link)| !link.ready && link.state != LinkState::Disabled) {
        if let Some(error) = &link.last_error {
            lines.push(format!("{}/{}: {}: {}", owner(views, view), link.name, error.reason, error.message));
        }
    }
    lines.into_iter().map(|line| cut(&line, width)).collect()
}

fn node(view: &View) -> Vec<String> {
    let mut row = vec![view.cluster.clone(), view.node.clone()];
    match &view.status {
        Some(status) => {
            row.push(listeners(status));
            let dropped = status.messages_dropped.values().sum();
            let numbers = [
                status.connections,
                status.sessions,
                status.subscriptions,
                status.retained,
                status.messages_received,
                status.messages_sent,
                dropped,
            ];
            row.extend(numbers.map(number));
            row.push(peers(&status.peers));
        }
        None => {
            row.push("does not answer".to_owned());
            row.extend(std::iter::repeat_n("-".to_owned(), 7));
            row.push(String::new());
        }
    }
    row.push(format!("http://{}", view.admin));
    row
}

/// How many of the other nodes are ready; nothing for a node that has none.
fn peers(peers: &[PeerStatus]) -> String {
    match peers.len() {
        0 => String::new(),
        all => format!("{} of {all}", peers.iter().filter(|peer| peer.ready).count()),
    }
}

/// Why another node is not ready.
fn missing(peer: &PeerStatus) -> String {
    let state = match peer.state {
        PeerState::Unreachable => "not reached",
        PeerState::Suspended => "suspended",
        PeerState::Connected => "connected, not in step yet",
    };
    match &peer.last_error {
        Some(error) if peer.state != PeerState::Connected => format!("{state}: {}: {}", error.reason, error.message),
        Some(_) | None => state.to_owned(),
    }
}

fn link(owner: &str, link: &LinkStatus) -> Vec<String> {
    vec![
        format!("{owner}/{}", link.name),
        link.remote_cluster.clone(),
        state(link),
        if link.ready { "yes" } else { "no" }.to_owned(),
        link.round_trip_micros.map_or_else(|| "-".to_owned(), millis),
        number(link.filters_wanted),
        number(link.filters_served),
        spool(link),
        number(link.messages_sent),
        number(link.messages_received),
        number(link.messages_dropped.values().sum()),
    ]
}

fn listeners(status: &Status) -> String {
    let listeners = status.listeners.iter().map(|listener| match &listener.error {
        None => format!("{} {}", listener.name, listener.address),
        Some(_) => format!("{} NOT LISTENING", listener.name),
    });
    listeners.collect::<Vec<_>>().join(", ")
}

fn state(link: &LinkStatus) -> String {
    let word = match link.state {
        LinkState::Disabled => "disabled",
        LinkState::Disconnected => "disconnected",
        LinkState::Handshaking => "handshaking",
        LinkState::Connected => "connected",
    };
    match (link.dialled, link.accepted) {
        (0, 0) if link.by_way > 0 => format!("{word} (by another node)"),
        (0, 0) => word.to_owned(),
        (dialled, 0) => format!("{word} ({dialled} out)"),
        (0, accepted) => format!("{word} ({accepted} in)"),
        (dialled, accepted) => format!("{word} ({dialled} out, {accepted} in)"),
    }
}

fn spool(link: &LinkStatus) -> String {
    match link.spool.messages {
        0 => "0".to_owned(),
        messages => format!("{} ({} s)", number(messages), link.spool.oldest_seconds),
    }
}

/// `12345` is `12,345`.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds as `0.4 ms`. Nothing takes no time: 0 is what a clock says that counts in milliseconds.
pub fn millis(micros: u64) -> String {
    match micros {
        0 => "< 1 ms".to_owned(),
        _ => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
    }
}

/// Header and rows, aligned; without columns that are empty, and those that go first where all are too wide.
fn columns(header: &[Column], rows: &[Vec<String>], width: usize) -> Vec<String> {
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(at, Column(name, ..))| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
            cells.chain([name.len()]).max().unwrap_or(0)
        })
        .collect();
    let empty = |at: usize| !rows.is_empty() && rows.iter().all(|row| row.get(at).is_none_or(String::is_empty));
    let mut shown: Vec<usize> = (0..header.len()).filter(|at| !empty(*at)).collect();
    let total = |shown: &[usize]| shown.iter().map(|at| widths[*at] + GAP).sum::<usize>().saturating_sub(GAP);
    while total(&shown) > width {
        let first = shown.iter().copied().filter(|at| header[*at].2 > 0).min_by_key(|at| header[*at].2);
        let Some(first) = first else { break };
        shown.retain(|at| *at != first);
    }
    let line = |cell: &dyn Fn(usize) -> String| {
        let mut line = String::new();
        for at in &shown {
            let (cell, width) = (cell(*at), widths[*at]);
            line += &match header[*at].1 {
                Left => format!("{cell:<width$}"),
                Right => format!("{cell:>width$}"),
            };
            line.extend([' '; GAP]);
        }
        line.trim_end().to_owned()
    };
    let first = line(&|at| header[at].0.to_owned());
    let others = rows.iter().map(|row| line(&|at| row.get(at).cloned().unwrap_or_default()));
    std::iter::once(first).chain(others).collect()
}

/// A line that fits; `…` stands for what does not.
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
