//! The text format of Prometheus, version 0.0.4: families of samples with help, type and labels.

use std::fmt::{Display, Write};

/// The content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Text in the making.
#[derive(Default)]
pub struct Text {
    out: String,
}

/// A family of samples in the making: all that is added goes under its name.
pub struct Family<'a> {
    text: &'a mut Text,
    name: &'static str,
}

// === impl Text ===

impl Text {
    /// Begins a family of numbers that only grow; its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        debug_assert!(name.ends_with("_total"), "{name} is a counter");
        self.family(name, help, "counter")
    }

    /// Begins a family of numbers that go up and down.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        debug_assert!(!name.ends_with("_total"), "{name} is a gauge");
        self.family(name, help, "gauge")
    }

    fn family(&mut self, name: &'static str, help: &str, kind: &str) -> Family<'_> {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { text: self, name }
    }

    /// The text so far.
    pub fn finish(self) -> String {
        self.out
    }

    fn push(&mut self, what: std::fmt::Arguments<'_>) {
        self.out.write_fmt(what).expect("writing to a String never fails");
    }
}

// === impl Family ===

impl Family<'_> {
    /// Adds a sample without labels.
    pub fn value(&mut self, value: impl Display) {
        self.sample(&[], value);
    }

    /// Adds a sample with labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let name = self.name;
        self.text.push(format_args!("{name}"));
        for (place, (label, text)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.text.push(format_args!("{before}{label}=\"{text}\""));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.text.push(format_args!("{after} {value}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_below_help_and_type_and_labels_are_escaped() {
        let mut text = Text::default();
        text.counter("a_total", "Help\nin two lines.").value(3);
        let mut gauge = text.gauge("b", "B.");
        gauge.sample(&[("name", "x\"\\\n"), ("other", "é")], 0.5);
        gauge.sample(&[("name", "y"), ("other", "")], 1);
        assert_eq!(
            text.finish(),
            "# HELP a_total Help\\nin two lines.\n# TYPE a_total counter\na_total 3\n# HELP b B.\n# TYPE b gauge\n\
             b{name=\"x\\\"\\\\\\n\",other=\"é\"} 0.5\nb{name=\"y\",other=\"\"} 1\n"
        );
    }
}
