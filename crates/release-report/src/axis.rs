//! The axis of the timeline: moments to places, with idle time cut out.

/// How wide the whole axis is.
pub(crate) const WIDTH: f64 = 1000.0;
/// How much of it a cut takes.
const CUT: f64 = 16.0;
/// Idle time that is always shown, in milliseconds.
const SHOWN_IDLE: i64 = 30_000;

/// An axis over the time in which something was done. A release that goes on a day later is two stretches of work with
/// a cut between them.
#[derive(Debug, PartialEq)]
pub(crate) struct Axis {
    stretches: Vec<Stretch>,
    scale: f64,
}

/// Time without a cut, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stretch {
    start: i64,
    end: i64,
    place: f64,
}

impl Axis {
    /// The axis over these spans of time; nothing if there are none.
    pub(crate) fn over(spans: impl IntoIterator<Item = (i64, i64)>) -> Option<Self> {
        let mut spans: Vec<_> = spans.into_iter().collect();
        spans.sort_unstable();
        let busy = joined(&spans, 0);
        let worked: i64 = busy.iter().map(|(start, end)| end - start).sum();
        let stretches = joined(&busy, SHOWN_IDLE.max(worked / 4));
        let length: i64 = stretches.iter().map(|(start, end)| end - start).sum();
        let cuts = stretches.len().checked_sub(1)?;
        let scale = ((WIDTH - CUT * places(cuts)).max(WIDTH / 2.0)) / millis(length.max(1));
        let mut place = 0.0;
        let stretches = stretches.into_iter().map(|(start, end)| {
            let stretch = Stretch { start, end, place };
            place += millis(end - start) * scale + CUT;
            stretch
        });
        Some(Self {
            stretches: stretches.collect(),
            scale,
        })
    }

    /// Where a moment lies, from 0 to about [`WIDTH`].
    pub(crate) fn place(&self, moment: i64) -> f64 {
        let stretch = self.stretches.iter().find(|stretch| moment <= stretch.end);
        stretch.or(self.stretches.last()).map_or(0.0, |stretch| {
            stretch.place + millis((moment - stretch.start).max(0)) * self.scale
        })
    }

    /// Where idle time was cut out.
    pub(crate) fn cuts(&self) -> impl Iterator<Item = f64> {
        let later = self.stretches.iter().skip(1);
        later.map(|stretch| stretch.place - CUT / 2.0)
    }

    /// The first moment and the last.
    pub(crate) fn ends(&self) -> Option<(i64, i64)> {
        let (first, last) = (self.stretches.first()?, self.stretches.last()?);
        Some((first.start, last.end))
    }

    /// How many milliseconds are shown.
    pub(crate) fn length(&self) -> i64 {
        let stretches = self.stretches.iter();
        stretches.map(|stretch| stretch.end - stretch.start).sum()
    }
}

/// Sorted spans, joined where no more than `idle` lies between them.
fn joined(spans: &[(i64, i64)], idle: i64) -> Vec<(i64, i64)> {
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for &(start, end) in spans {
        match joined.last_mut() {
            Some(last) if start - last.1 <= idle => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a place on a screen needs three digits"
)]
fn millis(milliseconds: i64) -> f64 {
    milliseconds as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a place on a screen needs three digits"
)]
fn places(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::{Axis, WIDTH};

    #[test]
    fn an_axis_without_work_is_none() {
        assert_eq!(Axis::over([]), None);
    }

    #[test]
    fn work_without_a_pause_fills_the_axis() {
        let axis = Axis::over([(1_000, 3_000), (3_000, 5_000), (2_000, 4_000)]).unwrap();
        assert_eq!((axis.place(1_000), axis.place(5_000)), (0.0, WIDTH));
        assert_eq!(axis.place(3_000), WIDTH / 2.0);
        assert_eq!((axis.cuts().count(), axis.length()), (0, 4_000));
    }

    #[test]
    fn a_night_between_two_runs_is_cut_out() {
        let (evening, morning) = (0, 40_000_000);
        let axis = Axis::over([(evening, evening + 60_000), (morning, morning + 60_000)]).unwrap();
        assert_eq!((axis.cuts().count(), axis.length()), (1, 120_000));
        assert!(axis.place(evening + 60_000) < axis.place(morning));
        assert!((axis.place(morning + 60_000) - WIDTH).abs() < 1e-6);
    }

    #[test]
    fn what_took_no_time_has_a_place() {
        let axis = Axis::over([(7, 7)]).unwrap();
        assert_eq!(axis.place(7), 0.0);
    }
}
