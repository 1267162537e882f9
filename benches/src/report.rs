//! One format for results: a table for people, JSON for everything else.

use crate::images::Scale;
use crate::machine::Machine;
use crate::stats::Samples;
use anyhow::{Context, Result};
use std::io::{self, Write};
use std::path::Path;

/// What one contender did in one discipline.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Measurement {
    /// Discipline, such as `walk cold`.
    pub what: String,
    /// Compressor of the image, where it matters.
    pub compressor: Option<String>,
    /// Who.
    pub contender: String,
    /// Wall times.
    pub wall: Samples,
    /// CPU times of the reader, the kernel's work in its name included.
    pub reader_cpu: Samples,
    /// CPU times of the server processes alone.
    pub server_cpu: Samples,
    /// Names, bytes or modules per run, equal for all contenders.
    pub amount: u64,
}

impl Measurement {
    /// Median CPU time of reader and server together, where it was taken.
    fn cpu(&self) -> Option<f64> {
        let reader = self.reader_cpu.median().filter(|seconds| *seconds > 0.0)?;
        Some(reader + self.server_cpu.median().unwrap_or(0.0))
    }
}

/// A quotient of two medians, and what it should be at most.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Ratio {
    /// Discipline.
    pub what: String,
    /// Compressor of the image, where it matters.
    pub compressor: Option<String>,
    /// Above the line.
    pub of: String,
    /// Below the line.
    pub to: String,
    /// The quotient of wall times.
    pub ratio: f64,
    /// The quotient of CPU times, reader and server together: less disturbed by other work on the
    /// machine than wall times.
    pub cpu_ratio: Option<f64>,
    /// Largest acceptable quotient, where one was set.
    pub target: Option<f64>,
}

/// All of a run.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// Where and when.
    pub machine: Machine,
    /// Size of the generated data.
    pub scale: Scale,
    /// Program and version of each contender.
    pub versions: Vec<(String, String)>,
    /// What could not be measured, and why.
    pub skipped: Vec<String>,
    /// Figures.
    pub measurements: Vec<Measurement>,
    /// Comparisons.
    pub ratios: Vec<Ratio>,
}

impl Report {
    /// The measurement to add a sample to.
    pub fn entry(
        &mut self,
        what: &str,
        compressor: Option<&str>,
        contender: &str,
    ) -> &mut Measurement {
        let found = self.find(what, compressor, contender);
        let index = found.unwrap_or_else(|| {
            self.measurements.push(Measurement {
                what: what.to_owned(),
                compressor: compressor.map(str::to_owned),
                contender: contender.to_owned(),
                wall: Samples::default(),
                reader_cpu: Samples::default(),
                server_cpu: Samples::default(),
                amount: 0,
            });
            self.measurements.len() - 1
        });
        &mut self.measurements[index]
    }

    fn find(&self, what: &str, compressor: Option<&str>, contender: &str) -> Option<usize> {
        self.measurements.iter().position(|measurement| {
            measurement.what == what
                && measurement.compressor.as_deref() == compressor
                && measurement.contender == contender
        })
    }

    /// Adds the quotient of two medians, if both were measured.
    pub fn compare(
        &mut self,
        what: &str,
        compressor: Option<&str>,
        of: &str,
        to: &str,
        target: Option<f64>,
    ) {
        let entry = |contender| Some(&self.measurements[self.find(what, compressor, contender)?]);
        let (Some(above), Some(below)) = (entry(of), entry(to)) else {
            return;
        };
        let cpu_ratio = above
            .cpu()
            .zip(below.cpu())
            .map(|(above, below)| above / below);
        if let (Some(above), Some(below)) = (above.wall.median(), below.wall.median()) {
            self.ratios.push(Ratio {
                what: what.to_owned(),
                compressor: compressor.map(str::to_owned),
                of: of.to_owned(),
                to: to.to_owned(),
                ratio: above / below,
                cpu_ratio,
                target,
            });
        }
    }

    /// Prints everything for people.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let machine = &self.machine;
        writeln!(
            out,
            "Linux {}, {} cores of {}, {} MiB, load {:.1}; kernel squashfs: {}",
            machine.kernel,
            machine.cores,
            machine.cpu,
            machine.memory_mib,
            machine.load,
            machine.kernel_squashfs
        )?;
        for (name, version) in &self.versions {
            writeln!(out, "{name}: {version}")?;
        }
        // One table per discipline, in the order in which the disciplines were first measured.
        let mut disciplines: Vec<(&str, Option<&str>)> = Vec::new();
        for measurement in &self.measurements {
            let key = (measurement.what.as_str(), measurement.compressor.as_deref());
            if !disciplines.contains(&key) {
                disciplines.push(key);
            }
        }
        for (what, compressor) in disciplines {
            let of = compressor
                .map(|name| format!(", {name}"))
                .unwrap_or_default();
            let rows: Vec<&Measurement> = self
                .measurements
                .iter()
                .filter(|row| row.what == what && row.compressor.as_deref() == compressor)
                .collect();
            let amount = rows.first().map_or(0, |row| row.amount);
            if rows.iter().any(|row| row.amount != amount) {
                writeln!(
                    out,
                    "\nVOID: amounts differ between contenders in what follows"
                )?;
            }
            writeln!(out, "\n{what}{of}  ({amount} per run)")?;
            writeln!(
                out,
                "  {:<24}{:>11}{:>11}{:>11}{:>12}{:>12}{:>5}",
                "", "median", "min", "max", "reader CPU", "server CPU", "n"
            )?;
            for row in rows {
                writeln!(
                    out,
                    "  {:<24}{:>11}{:>11}{:>11}{:>12}{:>12}{:>5}",
                    row.contender,
                    time(row.wall.median()),
                    time(row.wall.min()),
                    time(row.wall.max()),
                    time(row.reader_cpu.median()),
                    time(row.server_cpu.median()),
                    row.wall.seconds.len()
                )?;
            }
        }
        writeln!(
            out,
            "\nratios of medians: wall time, and CPU time of reader and server together"
        )?;
        for ratio in &self.ratios {
            let what = ratio.compressor.as_ref().map_or_else(
                || ratio.what.clone(),
                |name| format!("{}, {name}", ratio.what),
            );
            let verdict = match ratio.target {
                None => String::new(),
                Some(target) if ratio.ratio <= target => format!("  target <= {target:.3}: met"),
                Some(target) => format!("  target <= {target:.3}: MISSED"),
            };
            let cpu = ratio
                .cpu_ratio
                .map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.3}"));
            writeln!(
                out,
                "  {what:<30}{:<24}/ {:<24}{:>7.3}{cpu:>7}{verdict}",
                ratio.of, ratio.to, ratio.ratio
            )?;
        }
        for reason in &self.skipped {
            writeln!(out, "SKIP {reason}")?;
        }
        Ok(())
    }

    /// Writes everything as JSON.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn save(&self, path: &Path) -> Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }
}

fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{:.2} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.3} s"),
    }
}
