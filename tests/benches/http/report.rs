//! The table, the file and the bars.

use ostler_tests::components::target;
use serde_json::{Map, Value, json};
use std::process::ExitCode;

/// What was found, printed as it comes.
pub(crate) struct Report {
    figures: Map<String, Value>,
    bars: Vec<Value>,
    goals: Vec<Value>,
    missed: Vec<String>,
    load_before: String,
}

/// What a figure must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { figures: Map::new(), bars: Vec::new(), goals: Vec::new(), missed: Vec::new(), load_before: load_average() }
    }

    pub(crate) fn section(&self, title: &str) {
        println!("\n{title}");
    }

    /// One line of the table: what was measured, and its figures with their units.
    pub(crate) fn line(&mut self, name: &str, figures: &[(&str, f64)]) {
        let shown: Vec<String> = figures.iter().map(|(what, value)| format!("{what} {}", digits(*value))).collect();
        println!("  {name:<34} {}", shown.join(" · "));
        let map: Map<String, Value> = figures.iter().map(|(what, value)| ((*what).to_owned(), json!(value))).collect();
        self.figures.insert(name.to_owned(), Value::Object(map));
    }

    /// A figure with a goal that is not reached yet, or not on every machine: told in the table and the file, while the run fails
    /// only beyond the guard.
    pub(crate) fn goal(&mut self, name: &str, value: f64, goal: Bar, guard: Bar) {
        let (reached, sign, limit) = goal.judge(value);
        println!("  {} {name}: {} (goal: {sign} {})", if reached { "reached" } else { "SHORT  " }, digits(value), digits(limit));
        self.goals.push(json!({ "name": name, "value": value, "goal": sign, "limit": limit, "reached": reached }));
        self.bar(name, value, guard);
    }

    /// A figure that has to meet a bar.
    pub(crate) fn bar(&mut self, name: &str, value: f64, bar: Bar) {
        let (met, sign, limit) = bar.judge(value);
        let line = format!("{name}: {} (bar: {sign} {})", digits(value), digits(limit));
        println!("  {} {line}", if met { "met   " } else { "MISSED" });
        self.bars.push(json!({ "name": name, "value": value, "bar": sign, "limit": limit, "met": met }));
        if !met {
            self.missed.push(line);
        }
    }

    /// Writes the file, and says whether all bars are met.
    pub(crate) fn finish(self) -> ExitCode {
        let (before, after) = (self.load_before, load_average());
        let path = target().join("bench/http.json");
        let content = json!({
            "processors": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            "load_average": { "before": before, "after": after },
            "figures": self.figures,
            "bars": self.bars,
            "goals": self.goals,
        });
        std::fs::write(&path, format!("{content:#}\n")).expect("a file in target/bench can be written");
        println!("\nload average before {before}, after {after}; figures in {}", path.display());
        if self.missed.is_empty() {
            return ExitCode::SUCCESS;
        }
        eprintln!("missed:\n  {}", self.missed.join("\n  "));
        ExitCode::FAILURE
    }
}

impl Bar {
    fn judge(&self, value: f64) -> (bool, &'static str, f64) {
        match *self {
            Self::AtLeast(limit) => (value >= limit, "≥", limit),
            Self::AtMost(limit) => (value <= limit, "≤", limit),
        }
    }
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Three significant digits, whole numbers in full.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A number of things, for arithmetic.
pub(crate) fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// The value that this share of sorted values does not exceed; 0 for none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    // A position between 0 and the number of values.
    let rank = (count(sorted.len()) * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The middle one.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}
