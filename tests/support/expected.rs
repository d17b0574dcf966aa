//! What a series is to be: exactly a value, or within an interval, reckoned from Prometheus's samples where the test cannot know
//! better.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{collections::BTreeMap, ops::RangeInclusive};

/// The window of every rate: all that the test does falls into it.
pub const WINDOW: &str = "1h";
pub const WINDOW_S: f64 = 3600.0;

/// What a series is to be.
#[derive(Debug, Clone)]
pub enum Expected {
    Is(f64),
    Within(RangeInclusive<f64>),
}

impl Expected {
    pub fn holds(&self, value: f64) -> bool {
        match self {
            Self::Is(expected) => (value - expected).abs() <= expected.abs() * 1e-9,
            Self::Within(range) => range.contains(&value),
        }
    }
}

/// What is shown, by what it is called there.
pub type Shown = BTreeMap<String, Expected>;

pub fn is(value: impl Into<f64>) -> Expected {
    Expected::Is(value.into())
}

/// Within a tenth.
pub fn near(value: f64) -> Expected {
    let reach = value.abs() / 10.0;
    Expected::Within(value - reach..=value + reach)
}

/// What a rate makes of a count: Prometheus reckons on over the edges of the samples that it has, by less than a quarter here.
pub fn counted(count: f64, per_s: f64) -> Expected {
    let rate = count * per_s / WINDOW_S;
    if count == 0.0 { Expected::Is(0.0) } else { Expected::Within(rate * 0.999..=rate * 1.25) }
}

/// Compares what is shown with what is to be.
pub fn assert_shown(of: &str, expected: &Shown, shown: &BTreeMap<String, f64>) {
    let right = shown.len() == expected.len()
        && shown.iter().all(|(called, value)| expected.get(called).is_some_and(|expected| expected.holds(*value)));
    assert!(right, "{of} is to show\n{expected:#?}\nand shows\n{shown:#?}");
}

/// How much a counter has risen, from its samples; it begins again at 0 with each supervisor.
pub fn risen(samples: &[(f64, f64)]) -> f64 {
    samples.windows(2).map(|pair| if pair[1].1 < pair[0].1 { pair[1].1 } else { pair[1].1 - pair[0].1 }).sum()
}

/// The line through samples: its rise a second, and where it is at a moment.
pub fn line(samples: &[(f64, f64)], at: f64) -> (f64, f64) {
    let n = samples.len() as f64;
    let (t, v) = samples.iter().fold((0.0, 0.0), |(t, v), sample| (t + (sample.0 - at) / n, v + sample.1 / n));
    let (num, den) = samples.iter().fold((0.0, 0.0), |(num, den), sample| {
        let dt = sample.0 - at - t;
        (num + dt * (sample.1 - v), den + dt * dt)
    });
    (num / den, v - num / den * t)
}

/// The value that a share of what was counted in buckets (upper end, count up to it) is below.
pub fn quantile(share: f64, buckets: &[(f64, f64)]) -> f64 {
    let rank = share * buckets.last().unwrap().1;
    let at = buckets.iter().position(|bucket| bucket.1 >= rank).unwrap();
    if buckets[at].0.is_infinite() {
        return buckets[at - 1].0;
    }
    let (start, below) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    start + (buckets[at].0 - start) * (rank - below) / (buckets[at].1 - below)
}
