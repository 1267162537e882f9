//! How far a conversion is: lines, bars on a terminal, events for programs.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use skiff_fs::format::oci::Count;
use skiff_fs::remote::{Event, Observer};

use super::events::{self, Event as Step};
use crate::output::{self, Level};

/// Bars of layers shown at a time.
const MAX_BARS: usize = 24;

/// Between two events of the same kind.
const EVENTS_APART: Duration = Duration::from_millis(250);

/// What watches a conversion. Clones watch the same one.
#[derive(Clone)]
pub struct Watch(Arc<Shared>);

struct Shared {
    bars: Option<MultiProgress>,
    layers: Mutex<Vec<(ProgressBar, u64)>>,
    writing: Mutex<Option<ProgressBar>>,
    fetched: AtomicU64,
    /// When events are wanted.
    told: Option<Mutex<Told>>,
}

/// What events have told, and when.
#[derive(Default)]
struct Told {
    /// Bytes here, bytes in all, and the last event, by layer.
    layers: Vec<(u64, u64, Option<Instant>)>,
    written: Option<Instant>,
}

impl Told {
    fn count(&mut self, number: usize, more: u64) {
        let Some((bytes, size, last)) = self.layers.get_mut(number) else {
            return;
        };
        *bytes += more;
        if *bytes >= *size || due(last) {
            let bytes = *bytes;
            events::tell(&Step::Fetched { number, bytes });
        }
    }
}

/// Whether it is time for the next event, which is then told.
fn due(last: &mut Option<Instant>) -> bool {
    if last.is_some_and(|last| last.elapsed() < EVENTS_APART) {
        return false;
    }
    *last = Some(Instant::now());
    true
}

impl Watch {
    /// Shows bars where standard error is a terminal, and somebody wants to see them.
    pub fn new() -> Self {
        let events = events::wanted();
        let wanted = io::stderr().is_terminal() && output::shows(Level::Info) && !events;
        Self(Arc::new(Shared {
            bars: wanted.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr())),
            layers: Mutex::default(),
            writing: Mutex::default(),
            fetched: AtomicU64::new(0),
            told: events.then(Mutex::default),
        }))
    }

    /// Says a line.
    pub fn info(&self, text: &str) {
        self.aside(|| output::info(text));
    }

    /// Warns.
    pub fn warning(&self, text: &str) {
        self.aside(|| output::warning(text));
    }

    fn aside(&self, say: impl FnOnce()) {
        match &self.0.bars {
            Some(bars) => bars.suspend(say),
            None => say(),
        }
    }

    /// Counts what comes of layers with these names and sizes.
    pub fn layers(&self, layers: &[(String, u64)]) -> Count {
        if let Some(bars) = &self.0.bars {
            let mut known = self.0.layers.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, size) in layers.iter().take(MAX_BARS) {
                let bar = bars.add(ProgressBar::new(*size));
                if let Ok(style) = ProgressStyle::with_template(
                    "{prefix:.dim} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}",
                ) {
                    bar.set_style(style.progress_chars("=> "));
                }
                bar.set_prefix(name.chars().take(19).collect::<String>());
                known.push((bar, *size));
            }
        }
        if let Some(told) = &self.0.told {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.layers = layers.iter().map(|(_, size)| (0, *size, None)).collect();
            for (number, (name, size)) in layers.iter().enumerate() {
                let size = *size;
                events::tell(&Step::Layer { number, name, size });
            }
        }
        let shared = Arc::clone(&self.0);
        Box::new(move |layer, bytes| {
            shared.fetched.fetch_add(bytes, Ordering::Relaxed);
            if let Some(told) = &shared.told {
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                told.count(layer, bytes);
            }
            if shared.bars.is_none() {
                return;
            }
            let known = shared.layers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((bar, size)) = known.get(layer) {
                bar.inc(bytes);
                if bar.position() >= *size {
                    bar.finish_and_clear();
                }
            }
        })
    }

    /// Content was written, so many bytes so far.
    pub fn content(&self, bytes: u64) {
        if let Some(told) = &self.0.told {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if due(&mut told.written) {
                events::tell(&Step::Written { bytes });
            }
        }
        let Some(bars) = &self.0.bars else {
            return;
        };
        let mut writing = self
            .0
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let bar = writing.get_or_insert_with(|| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} writing: {bytes} of files packed")
            {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        bar.set_position(bytes);
    }

    /// Bytes that came from a network.
    pub fn fetched(&self) -> u64 {
        self.0.fetched.load(Ordering::Relaxed)
    }

    /// Takes all bars away.
    pub fn finish(&self) {
        let layers =
            std::mem::take(&mut *self.0.layers.lock().unwrap_or_else(PoisonError::into_inner));
        for (bar, _) in layers {
            bar.finish_and_clear();
        }
        let writing = self
            .0
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(bar) = writing {
            bar.finish_and_clear();
        }
    }

    /// As one who hears of the network.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(self.clone())
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Watch {
    fn event(&self, event: &Event) {
        match event {
            Event::Warning(text) => self.warning(text),
            other => self.aside(|| output::verbose(other)),
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watch").finish_non_exhaustive()
    }
}
