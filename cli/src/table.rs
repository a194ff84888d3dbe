//! Running nodes and links as a table of text.

use tombolo_broker_api::{LinkState, LinkStatus, Status};

use crate::view::View;

/// Blanks between two columns.
const GAP: usize = 2;

/// The table, each line at most `width` characters.
pub fn render(views: &[View], width: usize) -> Vec<String> {
    let mut lines = nodes(views);
    if views.iter().filter_map(|view| view.status.as_ref()).any(|status| !status.links.is_empty()) {
        lines.push(String::new());
        lines.extend(links(views));
    }
    lines.into_iter().map(|line| cut(&line, width)).collect()
}

fn nodes(views: &[View]) -> Vec<String> {
    let mut rows = vec![
        [
            "CLUSTER",
            "NODE",
            "LISTENERS",
            ">CLIENTS",
            ">SESSIONS",
            ">SUBSCRIPTIONS",
            ">RETAINED",
            ">IN",
            ">OUT",
            ">DROPPED",
            "ADMIN",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for view in views {
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
            }
            None => {
                row.push("does not answer".to_owned());
                row.extend(std::iter::repeat_n("-".to_owned(), 7));
            }
        }
        row.push(format!("http://{}", view.admin));
        rows.push(row);
    }
    columns(&rows)
}

fn listeners(status: &Status) -> String {
    let listeners = status.listeners.iter().map(|listener| match &listener.error {
        None => format!("{} {}", listener.name, listener.address),
        Some(_) => format!("{} NOT LISTENING", listener.name),
    });
    listeners.collect::<Vec<_>>().join(", ")
}

fn links(views: &[View]) -> Vec<String> {
    let header = [
        "LINK",
        "REMOTE",
        "STATE",
        "READY",
        ">ROUND TRIP",
        ">WANTED",
        ">SERVED",
        ">SPOOL",
        ">SENT",
        ">RECEIVED",
        ">DROPPED",
        "LAST ERROR",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for view in views {
        for link in view.status.iter().flat_map(|status| &status.links) {
            let error = link.last_error.as_ref().filter(|_| !link.ready);
            rows.push(vec![
                format!("{}/{}", view.cluster, link.name),
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
                error.map_or_else(String::new, |error| format!("{}: {}", error.reason, error.message)),
            ]);
        }
    }
    columns(&rows)
}

fn state(link: &LinkStatus) -> String {
    let word = match link.state {
        LinkState::Disabled => "disabled",
        LinkState::Disconnected => "disconnected",
        LinkState::Handshaking => "handshaking",
        LinkState::Connected => "connected",
    };
    match (link.dialled, link.accepted) {
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

/// Microseconds as `0.4 ms`.
pub fn millis(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

/// Rows with aligned columns; a header that begins with `>` aligns its column to the right.
fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let header: Vec<(&str, bool)> = rows
        .first()
        .into_iter()
        .flatten()
        .map(|name| match name.strip_prefix('>') {
            Some(name) => (name, true),
            None => (name.as_str(), false),
        })
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().skip(1).filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header[column].0.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let mut line = String::new();
        for ((cell, (_, right)), width) in cells.into_iter().zip(&header).zip(&widths) {
            if *right {
                line += &format!("{cell:>width$}")
            } else {
                line += &format!("{cell:<width$}")
            }
            line.extend([' '; GAP]);
        }
        line.trim_end().to_owned()
    };
    let first = line(header.iter().map(|(name, _)| *name).collect());
    let others = rows.iter().skip(1).map(|row| line(row.iter().map(String::as_str).collect()));
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
