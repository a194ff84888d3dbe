//! Whether a port can be listened on, and if not, who has it and how to go on.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};

/// Tries to listen on an address, for a moment.
///
/// # Errors
/// Why it cannot be listened on, and what would help.
pub fn check(address: SocketAddr) -> Result<(), String> {
    let Err(error) = TcpListener::bind(address) else { return Ok(()) };
    Err(match error.kind() {
        ErrorKind::AddrInUse => {
            let holder = holder(address.port()).map(|holder| format!(" by {holder}")).unwrap_or_default();
            format!("{address} is in use{holder}; stop that, or choose another port")
        }
        ErrorKind::PermissionDenied => format!(
            "{address} is reserved for privileged processes; choose a port from 1024 on, or allow it with \
             `sysctl net.ipv4.ip_unprivileged_port_start={}`",
            address.port()
        ),
        ErrorKind::AddrNotAvailable => {
            format!("{address} is no address of this machine; choose one of its own with --bind")
        }
        _ => format!("{address} cannot be listened on: {error}"),
    })
}

/// First port that [`free`] gives; what lies below belongs to well-known services.
const FREE_FIRST: u16 = 20_000;
/// How many it chooses among: 32,768 is where Linux begins to take ports for outgoing connections, and a node that is
/// started again must find its port free.
const FREE_COUNT: u16 = 12_000;

/// A port that can be listened on now and is none of `taken`; processes begin to look at different ones.
pub fn free(ip: IpAddr, taken: &BTreeSet<u16>) -> Option<u16> {
    // As far apart as the nodes of a cluster at most are many.
    let start = std::process::id().wrapping_mul(64);
    let ports = (0..FREE_COUNT).map(|step| start.wrapping_add(u32::from(step)) % u32::from(FREE_COUNT));
    let mut ports = ports.filter_map(|step| Some(FREE_FIRST + u16::try_from(step).ok()?));
    ports.find(|port| !taken.contains(port) && TcpListener::bind((ip, *port)).is_ok())
}

/// The process that listens on a TCP port, as `mosquitto (process 4711)`; none if it cannot be told, as for a process
/// of another user.
pub fn holder(port: u16) -> Option<String> {
    let mut sockets = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        sockets.extend(fs::read_to_string(table).unwrap_or_default().lines().filter_map(|line| listening(line, port)));
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    for process in processes {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else { continue };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = files.flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|target| sockets.contains(target.to_string_lossy().as_ref()))
        });
        if holds {
            let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", command.trim()));
        }
    }
    None
}

/// The socket of a line of `/proc/net/tcp` that listens on the port, as links in `/proc/PID/fd` name it.
fn listening(line: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace();
    let (_, local_port) = fields.nth(1)?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let same = u16::from_str_radix(local_port, 16).is_ok_and(|local| local == port);
    (same && state == LISTEN).then(|| format!("socket:[{inode}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_has_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let problem = check(address).expect_err("in use");
        let own = format!("(process {})", std::process::id());
        assert!(problem.contains("is in use by") && problem.contains(&own), "{problem}");
        drop(listener);
        check(address).expect("free");
    }

    #[test]
    fn a_free_port_is_nobody_elses() {
        let ip = IpAddr::from([127, 0, 0, 1]);
        let first = free(ip, &BTreeSet::new()).expect("one of thousands");
        let listener = TcpListener::bind((ip, first)).expect("free");
        let second = free(ip, &BTreeSet::new()).expect("one of thousands");
        assert_ne!(first, second);
        let third = free(ip, &BTreeSet::from([second])).expect("one of thousands");
        assert!(third != first && third != second && (FREE_FIRST..32_768).contains(&third), "{third}");
        drop(listener);
    }

    #[test]
    fn an_address_of_another_machine_is_told() {
        let problem = check("192.0.2.1:1883".parse().expect("an address")).expect_err("not ours");
        assert!(problem.contains("no address of this machine"), "{problem}");
    }
}
