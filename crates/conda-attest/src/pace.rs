//! How many requests a service gets at the same time.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How many requests are sent before the first answer has come.
const START: usize = 16;
/// Over so many answers latency is averaged: that of a log that answers with its next checkpoint
/// is anything between nothing and the time between two.
const WINDOW: u32 = 16;
/// A service that takes so much longer than at its best gets no more at once.
const SLOWER: u32 = 2;
/// Differences below this say nothing about a service.
const NOISE: Duration = Duration::from_millis(20);

/// The requests that a service gets at the same time.
///
/// It begins with a few, gets one more for each answer that comes as fast as those before, and half
/// as many when it says that it is overwhelmed, or doesn't answer. From then on it takes as many
/// good answers as there are requests at the same time to get one more (additive increase,
/// multiplicative decrease, as TCP does it).
pub(crate) struct Pace {
    slots: Semaphore,
    state: Mutex<State>,
}

struct State {
    limit: Limit,
    /// Slots in use that are more than the limit, to be given up when they become free.
    surplus: usize,
}

impl Pace {
    /// Never more than `ceiling` at the same time.
    pub(crate) fn up_to(ceiling: NonZeroUsize) -> Self {
        let limit = Limit::up_to(ceiling.get());
        Self {
            slots: Semaphore::new(limit.now),
            state: Mutex::new(State { limit, surplus: 0 }),
        }
    }

    /// Waits until the service may have another request.
    pub(crate) async fn slot(&self) -> Slot<'_> {
        // The semaphore is never closed, which is all that could fail.
        let permit = self.slots.acquire().await.ok();
        Slot {
            pace: self,
            permit,
            round: self.state().limit.round,
            since: Instant::now(),
        }
    }

    fn adjust(&self, change: impl FnOnce(&mut Limit)) {
        let state = &mut *self.state();
        let before = state.limit.now;
        change(&mut state.limit);
        let now = state.limit.now;
        if now > before {
            let more = now - before;
            let kept = more.min(state.surplus);
            state.surplus -= kept;
            self.slots.add_permits(more - kept);
        } else {
            let fewer = before - now;
            state.surplus += fewer - self.slots.forget_permits(fewer);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to have one request on its way. Without a word about how it went, it changes nothing.
pub(crate) struct Slot<'a> {
    pace: &'a Pace,
    permit: Option<SemaphorePermit<'a>>,
    round: u32,
    since: Instant,
}

impl Slot<'_> {
    /// The service did what it was asked for.
    pub(crate) fn answered(self) {
        let latency = self.since.elapsed();
        self.pace.adjust(|limit| limit.answered(latency));
    }

    /// The service has too much to do, or does not answer at all.
    pub(crate) fn overwhelmed(self) {
        self.pace.adjust(|limit| limit.overwhelmed(self.round));
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.pace.state();
        if state.surplus > 0 {
            state.surplus -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

/// The rule alone: what answers make of the limit.
#[derive(Debug)]
struct Limit {
    now: usize,
    ceiling: usize,
    /// How often it was halved. What was sent before the last time says nothing about the present.
    round: u32,
    /// Whether the bounds of the service are still unknown.
    eager: bool,
    /// Good answers that have not raised the limit yet.
    credit: usize,
    /// Of the present window.
    answers: u32,
    time: Duration,
    /// The mean of the fastest window.
    best: Option<Duration>,
    /// Whether the last window was about as fast as the fastest.
    holds: bool,
}

impl Limit {
    fn up_to(ceiling: usize) -> Self {
        Self {
            now: START.min(ceiling),
            ceiling,
            round: 0,
            eager: true,
            credit: 0,
            answers: 0,
            time: Duration::ZERO,
            best: None,
            holds: true,
        }
    }

    fn answered(&mut self, latency: Duration) {
        self.answers += 1;
        self.time += latency;
        if self.answers == WINDOW {
            let mean = self.time / WINDOW;
            let best = self.best.map_or(mean, |best| best.min(mean));
            self.best = Some(best);
            self.holds = mean <= best * SLOWER + NOISE;
            self.eager &= self.holds;
            (self.answers, self.time) = (0, Duration::ZERO);
        }
        if !self.holds || self.now == self.ceiling {
            return;
        }
        self.credit += 1;
        if self.eager || self.credit >= self.now {
            self.now += 1;
            self.credit = 0;
        }
    }

    fn overwhelmed(&mut self, round: u32) {
        if round < self.round {
            return;
        }
        self.now = (self.now / 2).max(1);
        self.round += 1;
        self.eager = false;
        self.credit = 0;
        (self.answers, self.time) = (0, Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(500);
    const SLOW: Duration = Duration::from_millis(1200);

    fn answer(limit: &mut Limit, times: usize, latency: Duration) {
        for _ in 0..times {
            limit.answered(latency);
        }
    }

    #[test]
    fn it_begins_with_a_few_and_each_good_answer_brings_one_more() {
        let mut limit = Limit::up_to(50);
        assert_eq!(limit.now, START);
        answer(&mut limit, 20, FAST);
        assert_eq!(limit.now, START + 20);
        answer(&mut limit, 1000, FAST);
        assert_eq!(limit.now, 50);
        assert_eq!(Limit::up_to(3).now, 3);
    }

    #[test]
    fn it_does_not_rise_while_the_service_gets_slower() {
        let mut limit = Limit::up_to(1000);
        answer(&mut limit, 32, FAST);
        answer(&mut limit, 16, SLOW);
        let held = limit.now;
        answer(&mut limit, 500, SLOW);
        assert_eq!(limit.now, held);
        // Fast again, it rises by one for a whole round of answers.
        answer(&mut limit, 16, FAST);
        let before = limit.now;
        answer(&mut limit, before, FAST);
        assert_eq!(limit.now, before + 1);
    }

    #[test]
    fn latency_that_differs_from_answer_to_answer_is_no_reason_to_hold() {
        let mut limit = Limit::up_to(200);
        for number in 0..300 {
            limit.answered(Duration::from_millis(number * 701 % 2000));
        }
        assert_eq!(limit.now, 200);
    }

    #[test]
    fn it_is_halved_once_for_all_that_failed_together_and_never_below_one() {
        let mut limit = Limit::up_to(40);
        answer(&mut limit, 40, FAST);
        for _ in 0..40 {
            limit.overwhelmed(0);
        }
        assert_eq!(limit.now, 20);
        for round in 1..20 {
            limit.overwhelmed(round);
        }
        assert_eq!(limit.now, 1);
        answer(&mut limit, 1, FAST);
        assert_eq!(limit.now, 2);
        answer(&mut limit, 2, FAST);
        assert_eq!(limit.now, 3);
    }

    #[tokio::test]
    async fn slots_follow_the_limit_while_they_are_in_use() {
        let pace = Pace::up_to(NonZeroUsize::new(4).unwrap());
        let mut slots = Vec::new();
        for _ in 0..4 {
            slots.push(pace.slot().await);
        }
        let full = |pace: &Pace| pace.slots.available_permits() == 0;
        slots.pop().unwrap().overwhelmed();
        slots.pop();
        assert!(full(&pace), "two are in use, and two is the limit");
        slots.pop();
        assert_eq!(pace.slots.available_permits(), 1);
        slots.clear();
        assert_eq!(pace.slots.available_permits(), 2);
        for _ in 0..2 {
            let slot = pace.slot().await;
            slot.answered();
        }
        assert_eq!(pace.slots.available_permits(), 3);
        // Raised while a surplus is in use: the surplus is kept.
        let (one, two, three) = (pace.slot().await, pace.slot().await, pace.slot().await);
        one.overwhelmed();
        assert!(full(&pace));
        two.answered();
        assert!(full(&pace) || pace.slots.available_permits() == 1);
        drop(three);
        assert_eq!(
            pace.slots.available_permits(),
            pace.state().limit.now,
            "all are back"
        );
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_leaves_its_slot() {
        let pace = Pace::up_to(NonZeroUsize::MIN);
        let slot = pace.slot().await;
        let mut waiting = Box::pin(pace.slot());
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(slot);
        let _slot = waiting.await;
        assert_eq!(pace.slots.available_permits(), 0);
    }
}
