//! The table at the end: medians, ratios to the relay of the same run, targets and floors.

use std::fmt;

use super::measure::Figures;
use super::scenarios::{Scenario, Unit};

/// All rows.
pub struct Table {
    rows: Vec<Row>,
}

/// What was measured of a scenario, run by run.
pub struct Row {
    name: String,
    unit: Unit,
    target: Option<f64>,
    floor: Option<f64>,
    own: Vec<f64>,
    relay: Vec<f64>,
    clean: bool,
}

impl Row {
    /// Nothing measured yet.
    pub fn new(s: &Scenario) -> Self {
        let (own, relay) = (Vec::new(), Vec::new());
        Self { name: s.name.clone(), unit: s.unit, target: s.target, floor: s.floor, own, relay, clean: true }
    }

    /// What targets and floors speak of: the ratio to the relay, or the figure itself where there is no relay.
    fn judged(&self) -> f64 {
        if self.relay.is_empty() {
            return median(&self.own);
        }
        let ratios: Vec<f64> = self.own.iter().zip(&self.relay).map(|(own, relay)| own / relay.max(1e-9)).collect();
        median(&ratios)
    }

    fn verdict(&self) -> &'static str {
        let within = |bound: Option<f64>| bound.map(|b| self.judged() <= b);
        match (self.clean, within(self.floor), within(self.target)) {
            (false, _, _) => "NOT CLEAN",
            (true, Some(false), _) => "FLOOR MISSED",
            (true, _, Some(true)) => "target reached",
            (true, Some(true), _) => "above target",
            (true, None, Some(false)) => "above target",
            (true, None, None) => "",
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

impl Table {
    /// A table of these rows.
    pub fn new(rows: Vec<Row>) -> Self {
        Self { rows }
    }

    /// Adds a run to row `i`.
    pub fn add(&mut self, i: usize, relay: Option<Figures>, own: Figures) {
        let row = &mut self.rows[i];
        let figure = |f: Figures| match row.unit {
            Unit::Deliveries => f.per_delivery,
            Unit::Publishes => f.per_publish,
            Unit::Memory => f.kib_per_connection,
            Unit::Seconds => f.seconds,
        };
        row.own.push(figure(own));
        row.relay.extend(relay.map(figure));
        row.clean &= own.clean && relay.is_none_or(|r| r.clean);
    }

    /// Rows whose floor is missed.
    pub fn missed(&self) -> usize {
        self.rows.iter().filter(|r| r.floor.is_some_and(|floor| r.judged() > floor)).count()
    }

    /// Every run of every row was without a fault.
    pub fn clean(&self) -> bool {
        self.rows.iter().all(|r| r.clean)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.2}"));
        writeln!(f)?;
        writeln!(
            f,
            "{:<24} {:>9} {:>9} {:>9} {:>8} {:>7}  {:<14} spread",
            "scenario", "broker", "relay", "ratio", "target", "floor", "verdict"
        )?;
        for row in &self.rows {
            let relay = (!row.relay.is_empty()).then(|| median(&row.relay));
            let ratio = relay.map(|_| row.judged());
            let (low, high) = row.own.iter().fold((f64::MAX, 0f64), |(l, h), v| (l.min(*v), h.max(*v)));
            writeln!(
                f,
                "{:<24} {:>9.3} {:>9} {:>9} {:>8} {:>7}  {:<14} {low:.2}–{high:.2}",
                row.name,
                median(&row.own),
                cell(relay),
                cell(ratio),
                cell(row.target),
                cell(row.floor),
                row.verdict(),
            )?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "CPU seconds per million deliveries (100k wildcards: publishes; idle: KiB per connection; filters: seconds \
             until three nodes hold each other's 100k), medians."
        )?;
        writeln!(
            f,
            "Ratio: median of the ratios to the relay of the same run; QoS 2 against the relay's QoS 1; three nodes against one."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(per_delivery: f64) -> Figures {
        Figures { per_delivery, per_publish: 0.0, kib_per_connection: 0.0, seconds: 0.0, clean: true }
    }

    fn row() -> Row {
        let (own, relay, name) = (Vec::new(), Vec::new(), "x".to_owned());
        Row { name, unit: Unit::Deliveries, target: Some(1.2), floor: Some(1.5), own, relay, clean: true }
    }

    #[test]
    fn the_ratio_is_the_median_of_the_ratios_of_each_run() {
        let mut table = Table::new(vec![row()]);
        for (relay, own) in [(1.0, 1.1), (2.0, 4.0), (10.0, 13.0)] {
            table.add(0, Some(figures(relay)), figures(own));
        }
        assert!((table.rows[0].judged() - 1.3).abs() < 1e-9);
        assert_eq!((table.rows[0].verdict(), table.missed()), ("above target", 0));
    }

    #[test]
    fn a_missed_floor_and_a_lost_message_are_said() {
        let mut table = Table::new(vec![row()]);
        table.add(0, Some(figures(1.0)), figures(1.6));
        assert_eq!((table.rows[0].verdict(), table.missed()), ("FLOOR MISSED", 1));
        table.add(0, Some(figures(1.0)), Figures { clean: false, ..figures(1.0) });
        assert_eq!(table.rows[0].verdict(), "NOT CLEAN");
        assert!(!table.clean());
    }
}
