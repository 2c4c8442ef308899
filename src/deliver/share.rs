//! What gateways that share a store tell each other of their Novu keys: one that is held, or asked to wait, is so for all.

use super::Lanes;
use crate::novu::Reason;
use crate::store::KeyState;
use crate::units::Millis;

impl Lanes {
    /// What has changed here since it was last asked for.
    pub fn news(&self) -> Vec<KeyState> {
        let mut news = Vec::new();
        for lane in self.lock().iter_mut().filter(|lane| lane.is_news) {
            lane.is_news = false;
            // Another gateway may well reach Novu.
            let held = lane.gate.held().filter(|reason| *reason != Reason::Unreachable);
            news.push(KeyState {
                key: lane.account.fingerprint(),
                held: held.map(|reason| reason.to_string()),
                throttled_until: lane.throttled_until,
            });
        }
        news
    }

    /// The others have not been told.
    pub fn untold(&self, news: &[KeyState]) {
        for lane in self.lock().iter_mut() {
            lane.is_news |= news.iter().any(|state| state.key == lane.account.fingerprint());
        }
    }

    /// Resolves when there may be news.
    pub async fn has_news(&self) {
        self.news.notified().await;
    }

    /// Takes what all of so many `gateways` know together. What has just changed here is newer.
    pub fn follow_others(&self, states: &[KeyState], gateways: usize, now: Millis) {
        let mut changed = false;
        for lane in self.lock().iter_mut() {
            lane.rate.share(gateways);
            let fingerprint = lane.account.fingerprint();
            let Some(state) = states.iter().find(|state| !lane.is_news && state.key == fingerprint) else { continue };
            let held = state.held.as_deref().and_then(Reason::of_hold);
            if lane.gate.follow(held, now) {
                changed = true;
                match held {
                    Some(reason) => {
                        tracing::warn!(sources = ?lane.sources, %reason, "another gateway finds that Novu cannot be used with this key; its deliveries are held")
                    }
                    None => {
                        tracing::info!(sources = ?lane.sources, "another gateway finds that Novu can be used again")
                    }
                }
            }
            if state.throttled_until > lane.throttled_until {
                lane.throttled_until = state.throttled_until;
                changed = true;
            }
        }
        if changed {
            self.changed.notify_one();
        }
    }
}
