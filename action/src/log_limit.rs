// SPDX-License-Identifier: MIT OR Apache-2.0
//! A bound on what one guest can make the host write into its log.

use std::time::{Duration, Instant};

/// At most [`LogLimit::LINES`] lines in each [`LogLimit::PERIOD`]; what is left out is counted and told with the next
/// line.
#[derive(Debug, Default)]
pub struct LogLimit {
    period_start: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl LogLimit {
    /// Lines in one period.
    pub const LINES: u32 = 20;
    /// The period.
    pub const PERIOD: Duration = Duration::from_secs(10);

    /// Whether a line may be written now. `Some(n)`: yes, and `n` were left out since the last one.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        let over = self.period_start.is_none_or(|start| now.saturating_duration_since(start) >= Self::PERIOD);
        if over {
            self.period_start = Some(now);
            self.lines = 0;
        }
        if self.lines >= Self::LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }

    /// Writes a line if one may be written now. `message` is only built then.
    pub fn line(&mut self, level: log::Level, now: Instant, message: impl FnOnce() -> String) {
        match self.admit(now) {
            Some(0) => log::log!(level, "{}", message()),
            Some(left_out) => log::log!(level, "{} ({left_out} lines about it left out)", message()),
            None => {}
        }
    }

    /// [`LogLimit::line`] as a warning.
    pub fn warn(&mut self, now: Instant, message: impl FnOnce() -> String) {
        self.line(log::Level::Warn, now, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let start = Instant::now();
        let mut limit = LogLimit::default();
        let admitted = (0..1000).filter(|_| limit.admit(start).is_some()).count();
        assert_eq!(admitted, LogLimit::LINES as usize);
        assert_eq!(limit.admit(start + LogLimit::PERIOD), Some(1000 - u64::from(LogLimit::LINES)));
        assert_eq!(limit.admit(start + LogLimit::PERIOD), Some(0));
    }
}
