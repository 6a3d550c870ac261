//! Experiments, added up: a row for each fault, shape and durability.

use std::fmt::{Display, Formatter};

use serde::Serialize;

use super::run::{Experiment, Measured};
use crate::history::finding::Defect;

/// What all experiments with one fault have shown.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The fault.
    pub fault: String,
    /// The shape of Redis.
    pub shape: &'static str,
    /// The setting `redis.durability`.
    pub durability: String,
    /// Experiments.
    pub runs: usize,
    /// Events that were accepted.
    pub events: usize,
    /// Events that a live subscriber neither got nor was told to be lost.
    pub lost: usize,
    /// Events that a subscriber did not get, and was told to be lost.
    pub announced: usize,
    /// Events out of order.
    pub disordered: usize,
    /// Events that came again without a reason.
    pub duplicates: usize,
    /// Other findings.
    pub other: usize,
    /// The longest time until the fault was felt, in milliseconds; `None`: it never was.
    pub detect_ms: Option<u64>,
    /// The longest time until all were served again, in milliseconds.
    pub serve_ms: u64,
    /// The worst of what has a target.
    pub target: Option<Measured>,
}

/// All experiments.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// A row for each fault.
    pub rows: Vec<Row>,
    /// The experiments.
    pub experiments: Vec<Experiment>,
    /// Experiments that could not be made, and why.
    pub failures: Vec<String>,
}

impl Report {
    /// Adds an experiment.
    pub fn add(&mut self, experiment: Experiment) {
        let is_it = |row: &&mut Row| {
            (&row.fault, row.shape, &row.durability)
                == (&experiment.fault, experiment.shape, &experiment.durability)
        };
        match self.rows.iter_mut().find(is_it) {
            Some(row) => row.add(&experiment),
            None => {
                let mut row = Row::of(&experiment);
                row.add(&experiment);
                self.rows.push(row);
            }
        }
        self.experiments.push(experiment);
    }

    /// Did every experiment show what is promised?
    pub fn is_clean(&self) -> bool {
        let is_clean = |experiment: &Experiment| experiment.verdict.findings.is_empty();
        self.experiments.iter().all(is_clean)
    }
}

impl Row {
    fn of(experiment: &Experiment) -> Row {
        Row {
            fault: experiment.fault.clone(),
            shape: experiment.shape,
            durability: experiment.durability.clone(),
            runs: 0,
            events: 0,
            lost: 0,
            announced: 0,
            disordered: 0,
            duplicates: 0,
            other: 0,
            detect_ms: None,
            serve_ms: 0,
            target: None,
        }
    }

    fn add(&mut self, experiment: &Experiment) {
        let (verdict, times) = (&experiment.verdict, &experiment.times);
        let [lost, disordered, duplicates] =
            [Defect::Lost, Defect::Disordered, Defect::Duplicated].map(|defect| verdict.count(defect));
        self.runs += 1;
        self.events += verdict.accepted;
        self.lost += lost;
        self.announced += verdict.announced;
        self.disordered += disordered;
        self.duplicates += duplicates;
        self.other += verdict.findings.len() - lost - disordered - duplicates;
        self.detect_ms = self.detect_ms.max(times.detected.map(|micros| micros / 1000));
        self.serve_ms = self.serve_ms.max(times.served() / 1000);
        if let Some(target) = &experiment.target
            && self.target.as_ref().is_none_or(|worst| worst.took_ms < target.took_ms)
        {
            self.target = Some(target.clone());
        }
    }
}

const HEAD: [&str; 13] = [
    "fault",
    "shape",
    "durability",
    "runs",
    "events",
    "lost",
    "announced",
    "disordered",
    "duplicates",
    "other",
    "detect ms",
    "serve ms",
    "target",
];

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        let mut table = vec![HEAD.map(str::to_owned).to_vec()];
        table.extend(self.rows.iter().map(cells));
        let width =
            |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        for row in &table {
            for (column, cell) in row.iter().enumerate() {
                match column {
                    0..=2 | 12 => write!(out, "{cell:<width$}  ", width = width(column))?,
                    _ => write!(out, "{cell:>width$}  ", width = width(column))?,
                }
            }
            writeln!(out)?;
        }
        for experiment in self.experiments.iter().filter(|experiment| !experiment.verdict.findings.is_empty())
        {
            writeln!(out, "\n{}, seed {}:", experiment.fault, experiment.seed)?;
            for finding in experiment.verdict.findings.iter().take(20) {
                writeln!(out, "  {finding}")?;
            }
            if let Some(kept) = &experiment.kept {
                writeln!(out, "  kept in {}", kept.display())?;
            }
        }
        self.failures.iter().try_for_each(|failure| writeln!(out, "\ncould not be made: {failure}"))
    }
}

fn cells(row: &Row) -> Vec<String> {
    let target = row.target.as_ref().map_or_else(String::new, |target| {
        let verdict = if target.is_kept() { "kept" } else { "MISSED" };
        format!("{} {} ms of {} ms: {verdict}", target.of, target.took_ms, target.within_ms)
    });
    let numbers = [row.runs, row.events, row.lost, row.announced, row.disordered, row.duplicates, row.other];
    let mut cells = vec![row.fault.clone(), row.shape.to_owned(), row.durability.clone()];
    cells.extend(numbers.map(|number| number.to_string()));
    cells.push(row.detect_ms.map_or("-".to_owned(), |millis| millis.to_string()));
    cells.push(row.serve_ms.to_string());
    cells.push(target);
    cells
}
