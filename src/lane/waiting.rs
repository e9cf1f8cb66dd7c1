//! Requests that wait for an upstream with room.

use super::{Lane, client::Partner};
use crate::forward::record::Reason;

impl Lane {
    /// Lets those go on for whom there is room now, and those go that have waited too long.
    pub(super) fn serve_queue(&mut self) {
        for key in self.queue.expire(self.now) {
            self.leave_queue(key, Some(self.why_waiting(Reason::QueueTimeout)));
        }
        for place in std::mem::take(&mut self.turned_away) {
            // It may have left by itself meanwhile, and another have its place.
            if self.is_client(place) && self.clients[place.key].partner == Partner::Queued {
                self.leave_queue(place.key, Some(Reason::QueueFull));
            }
        }
        // As many as wait now: one that still finds no room waits again, behind the others.
        let waiting = if std::mem::take(&mut self.room) { self.queue.len() } else { 0 };
        for _ in 0..waiting {
            if !self.upstreams.has_room(self.now, &self.rules) {
                break;
            }
            let Some(key) = self.queue.pop() else { break };
            self.leave_queue(key, None);
        }
        self.upstreams.wait(self.now, &self.rules, !self.queue.is_empty());
    }

    /// The client waits no longer, nor is it told so: its key may soon be another's.
    pub(super) fn forget_waiting(&mut self, key: usize) {
        if !self.queue.remove(key) {
            self.turned_away.retain(|other| other.key != key);
        }
    }

    /// Where nobody is waited for who could come back, that is the reason.
    pub(super) fn why_waiting(&self, otherwise: Reason) -> Reason {
        if self.upstreams.states().next().is_none() { Reason::NoUpstream } else { otherwise }
    }

    /// It goes on, unless there is a reason for it to fail.
    fn leave_queue(&mut self, key: usize, why: Option<Reason>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.partner = Partner::Nobody;
        let mut flow = std::mem::take(&mut self.flow);
        let next = match why {
            Some(why) => self.fail(key, why, &mut flow),
            None => self.choose(key, &mut flow),
        };
        self.settle(key, next, flow);
    }
}
