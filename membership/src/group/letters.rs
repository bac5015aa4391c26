//! Letters of who is in no view, and the answers to them.

use super::Group;
use crate::views::Views;
use sistrum_ordering::Endpoint;

impl Group {
    /// Answers somebody who is no member, and of whom [`Event::Letter`](crate::Event::Letter) told: at most [`MAX_LETTER_LEN`](crate::MAX_LETTER_LEN) bytes. It may be
    /// lost. Returns false where it is too long, or too much waits.
    pub fn send_letter(&mut self, to: Endpoint, bytes: &[u8]) -> bool {
        let id = self.id;
        self.views_mut().is_some_and(|views| views.send_letter(id, to, bytes))
    }

    /// Takes letters from there that are longer than a block, until the group is left or goes on without me.
    pub fn admit(&mut self, from: Endpoint) {
        self.views_mut().into_iter().for_each(|views| views.admit(from));
    }

    /// Takes no more of those.
    pub fn dismiss(&mut self, from: Endpoint) {
        self.views_mut().into_iter().for_each(|views| views.dismiss(from));
    }

    /// Letters that there was no room for.
    #[must_use]
    pub fn dropped_letters(&self) -> u64 {
        self.views().map_or(0, Views::dropped_letters)
    }
}
