//! What a benchmark found: a table for people, a list of rows for machines.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// One figure.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub metric: String,
    /// The figure; small is good.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The peer's figure in the same unit.
    pub baseline: Option<f64>,
    /// Whether the peer ran in this very run, and which peer it is.
    pub baseline_source: Option<String>,
    /// value / baseline.
    pub ratio: Option<f64>,
    /// What the figure may be at most.
    pub budget: Option<f64>,
    /// Within the budget, where there is one; better than the baseline otherwise.
    pub ok: bool,
}

/// All figures of one benchmark.
pub struct Report {
    name: &'static str,
    rows: Vec<Row>,
}

/// The peer's figure and where it is from.
pub struct Baseline {
    pub value: f64,
    pub source: String,
}

impl Baseline {
    /// Measured now.
    pub fn measured(value: f64, peer: &str) -> Option<Self> {
        Some(Self { value, source: format!("{peer}, this run") })
    }

    /// Measured on a machine of this kind at another time.
    pub fn recorded(value: f64, peer: &str) -> Option<Self> {
        Some(Self { value, source: format!("{peer}, recorded") })
    }
}

impl Report {
    pub fn new(name: &'static str) -> Self {
        println!("\n{name}");
        println!("  {:<58} {:>10} {:<4} {:>10} {:>8} {:>8}", "metric", "value", "", "baseline", "ratio", "budget");
        Self { name, rows: Vec::new() }
    }

    /// Adds a figure and prints it.
    pub fn row(
        &mut self,
        metric: impl Into<String>,
        value: f64,
        unit: &'static str,
        baseline: Option<Baseline>,
        budget: Option<f64>,
    ) {
        let ratio = baseline.as_ref().map(|baseline| value / baseline.value);
        let ok = budget.is_none_or(|budget| value <= budget) && (budget.is_some() || ratio.is_some_and(|r| r <= 1.0));
        let (value_of_baseline, source) = baseline.map(|b| (b.value, b.source)).unzip();
        let row = Row {
            metric: metric.into(),
            value,
            unit,
            baseline: value_of_baseline,
            baseline_source: source,
            ratio,
            budget,
            ok,
        };
        let judged = row.budget.is_some() || row.ratio.is_some();
        let cell = |number: Option<f64>| number.map_or_else(|| "-".into(), short);
        println!(
            "  {:<58} {:>10} {:<4} {:>10} {:>8} {:>8} {} {}",
            row.metric,
            short(row.value),
            row.unit,
            cell(row.baseline),
            cell(row.ratio),
            cell(row.budget),
            if row.ok {
                "ok"
            } else if judged {
                "NOT OK"
            } else {
                ""
            },
            row.baseline_source.as_deref().unwrap_or_default(),
        );
        self.rows.push(row);
    }

    /// Writes NAME.json.
    pub fn write(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let path = directory.join(format!("{}.json", self.name));
        let text = serde_json::to_string_pretty(&self.rows)?;
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }
}

/// Three significant digits.
fn short(number: f64) -> String {
    match number.abs() {
        n if n >= 100.0 => format!("{number:.0}"),
        n if n >= 10.0 => format!("{number:.1}"),
        n if n >= 0.1 || n == 0.0 => format!("{number:.2}"),
        _ => format!("{number:.2e}"),
    }
}

/// The value below which `share` (0 to 1) of the samples lie.
pub fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let index = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        for (share, expected) in [(0.0, 0.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            assert!((quantile(&samples, share) - expected).abs() < f64::EPSILON, "{share}");
        }
    }

    #[test]
    fn a_figure_with_neither_budget_nor_baseline_is_never_ok() {
        let mut report = Report::new("test");
        report.row("a", 1.0, "s", None, None);
        report.row("b", 1.0, "s", Baseline::measured(2.0, "peer"), None);
        report.row("c", 3.0, "s", Baseline::measured(2.0, "peer"), None);
        report.row("d", 3.0, "s", Baseline::measured(2.0, "peer"), Some(3.0));
        assert_eq!(report.rows.iter().map(|row| row.ok).collect::<Vec<_>>(), [false, true, false, true]);
    }
}
