//! NoDeadTalk where views change: what a process is handed comes from a member of its view, and nothing from one that is out.

use crate::sim::history::eras::Eras;
use crate::sim::history::{History, What};

pub(super) fn check(history: &History) -> Option<String> {
    if !history.is_dynamic {
        return None;
    }
    let eras = Eras::of(history);
    (0..history.events.len()).find_map(|at| {
        let event = &history.events[at];
        let (by, what) = match event.what {
            What::Deliver(message) => (history.cast_of(message).by, history.named(message)),
            What::Receive(sent) => (history.sends[sent.0 as usize].by, history.named_send(sent)),
            _ => return None,
        };
        let number = eras.number(at);
        // Who has no view at all is another property's.
        eras.view(event.process, number)?;
        let (me, sender) = (history.name(event.process), history.name(by));
        (!eras.is_member(by, number))
            .then(|| format!("{me} was handed {what} in {number}, of which {sender} is no member"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::{Order, Rank};

    #[test]
    fn nothing_comes_of_one_that_is_out() {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1, 2], &[0, 1, 2]);
        let (message, send) = (told.cast(0, Order::Fifo), told.send(0, Rank(2)));
        told.deliver(1, message);
        told.install(2, &[1, 2], &[]);
        assert_eq!(check(&told.0), None);
        for what in [What::Deliver(message), What::Receive(send)] {
            let mut told = Told(told.0.clone());
            told.push(2, what);
            assert!(check(&told.0).unwrap().contains("no member"));
        }
    }
}
