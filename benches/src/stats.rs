//! Summaries of samples.

use std::time::Duration;

/// Wall times of one measurement, in the order they were taken.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Samples {
    /// Seconds.
    pub seconds: Vec<f64>,
}

impl Samples {
    /// Adds one.
    pub fn push(&mut self, time: Duration) {
        self.seconds.push(time.as_secs_f64());
    }

    /// The middle one; the mean of the two middle ones when their number is even.
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            len if len % 2 == 1 => Some(sorted[middle]),
            _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
        }
    }

    /// The smallest one.
    pub fn min(&self) -> Option<f64> {
        self.seconds.iter().copied().min_by(f64::total_cmp)
    }

    /// The largest one.
    pub fn max(&self) -> Option<f64> {
        self.seconds.iter().copied().max_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even() {
        let of = |seconds: &[f64]| {
            Samples {
                seconds: seconds.to_vec(),
            }
            .median()
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
