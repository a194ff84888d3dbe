//! A log-linear histogram of times: 32 buckets for each power of two, so exact to about 3 %.

use serde::Serialize;

/// Counts of values in nanoseconds.
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
    sum: u128,
}

/// What a report says of a histogram, in microseconds.
#[derive(Debug, Serialize)]
pub struct Summary {
    n: u64,
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; 64 * 32], count: 0, max: 0, sum: 0 }
    }
}

impl Histogram {
    /// Adds a value in nanoseconds.
    #[inline]
    pub fn add(&mut self, v: u64) {
        self.buckets[bucket(v)] += 1;
        self.count += 1;
        self.sum += u128::from(v);
        self.max = self.max.max(v);
    }

    /// The value below which the part `q` (0 to 1) of all values lies.
    pub fn quantile(&self, q: f64) -> u64 {
        let wanted = (self.count as f64 * q).ceil() as u64;
        let mut seen = 0;
        for (i, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= wanted && seen > 0 {
                return lowest(i).min(self.max);
            }
        }
        self.max
    }

    /// Quantiles in microseconds; `None` when nothing was added.
    pub fn summary(&self) -> Option<Summary> {
        if self.count == 0 {
            return None;
        }
        let us = |ns: f64| (ns / 100.0).round() / 10.0;
        let q = |q| us(self.quantile(q) as f64);
        Some(Summary {
            n: self.count,
            mean: us(self.sum as f64 / self.count as f64),
            p50: q(0.5),
            p90: q(0.9),
            p99: q(0.99),
            p999: q(0.999),
            max: us(self.max as f64),
        })
    }
}

fn bucket(v: u64) -> usize {
    if v < 32 {
        return v as usize;
    }
    let e = 63 - v.leading_zeros() as usize;
    ((e - 4) << 5) + ((v >> (e - 5)) & 31) as usize
}

fn lowest(bucket: usize) -> u64 {
    if bucket < 32 {
        return bucket as u64;
    }
    let e = (bucket >> 5) + 4;
    (1u64 << e) + (((bucket & 31) as u64) << (e - 5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_within_3_percent_of_its_bucket() {
        for v in (0..1_000_000_000u64).step_by(7_777_777).chain(0..200) {
            let low = lowest(bucket(v));
            assert!(low <= v && (v - low) as f64 <= v as f64 * 0.0313, "{v} is put at {low}");
        }
    }

    #[test]
    fn quantiles_of_a_thousand_even_values_are_even() {
        let mut h = Histogram::default();
        (1..=1000).for_each(|v| h.add(v * 1000));
        let s = h.summary().expect("not empty");
        assert!((480.0..=500.0).contains(&s.p50) && (960.0..=990.0).contains(&s.p99), "{s:?}");
        assert_eq!((s.n, s.max), (1000, 1000.0));
    }
}
