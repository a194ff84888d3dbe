//! Tests of the flags: those of mosquitto's clients are taken, and mean what they mean there.

use clap::{Parser, error::ErrorKind};

use super::options::Version;
use super::{publish, subscribe};

#[derive(Parser, Debug)]
#[command(no_binary_name = true)]
struct Pub {
    #[command(flatten)]
    flags: publish::Flags,
}

#[derive(Parser, Debug)]
#[command(no_binary_name = true)]
struct Sub {
    #[command(flatten)]
    flags: subscribe::Flags,
}

fn publishing(line: &str) -> Result<publish::Flags, clap::Error> {
    Pub::try_parse_from(line.split_whitespace()).map(|parsed| parsed.flags)
}

fn subscribing(line: &str) -> Result<subscribe::Flags, clap::Error> {
    Sub::try_parse_from(line.split_whitespace()).map(|parsed| parsed.flags)
}

#[test]
fn lines_written_for_mosquittos_clients_are_taken() {
    for line in [
        "-h 127.0.0.1 -p 1883 -t a/b -m hello",
        "-h broker -t a -m -5 -q 1 -r -i me -u demo -P demo -V mqttv311 -k 30",
        "-t a -n -r",
        "-t a -l -q 2 -d",
        "-t a -s --cafile ca.crt --cert c.crt --key c.key",
        "-t a -f file --repeat 3 --repeat-delay 0.5 -V 5 -x 60",
        "-L mqtt://demo:demo@broker:1884/a -m x",
        "-t a -m x --will-topic gone --will-payload bye --will-qos 1 --will-retain",
        "-t a -m x -c -i me",
    ] {
        publishing(line).expect(line);
    }
    for line in [
        "-h 127.0.0.1 -t a/# -t b -v -C 5 -W 10",
        "-t # -q 2 -c -i me -x 3600 -V mqttv5",
        "-t a -F %t:%p -N -R",
        "-t a -E -T a/b --retained-only --retain-as-published",
    ] {
        subscribing(line).expect(line);
    }
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    for (line, kind) in [
        ("-t a", ErrorKind::MissingRequiredArgument),
        ("-t a -m x -n", ErrorKind::ArgumentConflict),
        ("-t a -m x -q 3", ErrorKind::ValueValidation),
        ("-t a -m x -k 4", ErrorKind::ValueValidation),
        ("-t a -m x -p 70000", ErrorKind::ValueValidation),
        ("-t a -m x -V mqttv6", ErrorKind::InvalidValue),
        ("-t a -m x -c", ErrorKind::MissingRequiredArgument),
        ("-t a -m x -P secret", ErrorKind::MissingRequiredArgument),
        ("-t a -m x --cert c.crt", ErrorKind::MissingRequiredArgument),
        ("-t a -m x --will-retain", ErrorKind::MissingRequiredArgument),
        ("-t a -l --repeat 2", ErrorKind::ArgumentConflict),
        ("--help", ErrorKind::DisplayHelp),
    ] {
        assert_eq!(publishing(line).expect_err(line).kind(), kind, "{line}");
    }
    assert_eq!(subscribing("-t a -C 0").expect_err("no message").kind(), ErrorKind::ValueValidation);
    assert_eq!(subscribing("-t a -R --retained-only").expect_err("none left").kind(), ErrorKind::ArgumentConflict);
}

#[test]
fn the_port_follows_from_tls_and_a_session_that_is_kept_is_kept_for_ever() {
    for (line, port, tls, expiry) in [
        ("-t a -m x", 1883, false, 0),
        ("-t a -m x --cafile ca.crt", 8883, true, 0),
        ("-t a -m x --tls-use-os-certs -p 443", 443, true, 0),
        ("-L mqtts://broker/a -m x", 8883, true, 0),
        ("-t a -m x -i me -c", 1883, false, u32::MAX),
        ("-t a -m x -i me -c -x 5", 1883, false, 5),
    ] {
        let common = publishing(line).expect(line).common;
        let target = common.target().expect(line);
        assert_eq!((target.port, target.tls, common.session_expiry()), (port, tls, expiry), "{line}");
    }
    assert_eq!(publishing("-t a -m x").expect("taken").common.version, Version::V5);
    let plain = publishing("-L mqtt://broker/a --cafile ca.crt -m x").expect("taken").common;
    assert!(plain.target().is_err(), "TLS flags with a URL without TLS");
}
