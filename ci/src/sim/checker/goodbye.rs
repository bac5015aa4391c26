//! NoDeadTalk, as far as there are goodbyes: who is told that a member is gone has delivered everything that it cast, and
//! nothing of it comes any more. Only who said goodbye is gone. A reader may have lost some of it.

use crate::sim::history::{Event, History, Message, Process, What};

pub(super) fn check(history: &History) -> Option<String> {
    let mut said = Vec::new();
    let mut told: Vec<(Process, Process)> = Vec::new();
    history.events.iter().find_map(|event| {
        let (me, name) = (event.process, |process| history.name(process));
        match event.what {
            What::Leaves => {
                said.push(me);
                None
            }
            What::Departed(rank) if !history.who(me).is_outside => {
                let gone = history.member(history.who(me).life, rank).filter(|gone| said.contains(gone));
                let Some(gone) = gone else {
                    return Some(format!("{} is told that {rank} is gone, which said no goodbye", name(me)));
                };
                told.push((me, gone));
                let missing = missing(history, event, gone)?;
                let missing = history.named(missing);
                Some(format!("{} is told that {} is gone, before {missing}", name(me), name(gone)))
            }
            What::Deliver(message) if told.contains(&(me, history.cast_of(message).by)) => {
                Some(format!("{} delivered {}, of one who is gone", name(me), history.named(message)))
            }
            _ => None,
        }
    })
}

/// What `gone` cast and was not delivered where `event` tells of its goodbye.
fn missing(history: &History, event: &Event, gone: Process) -> Option<Message> {
    let mut got = vec![false; history.casts.len()];
    let before = history.of(event.process).take_while(|other| !std::ptr::eq(*other, event));
    before.filter_map(|event| history.delivery(event)).for_each(|message| got[message.0 as usize] = true);
    let all = (0..history.casts.len() as u32).map(Message);
    all.into_iter().find(|message| history.cast_of(*message).by == gone && !got[message.0 as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::{Order, Rank};

    #[test]
    fn a_goodbye_is_told_behind_everything_and_is_the_last() {
        let mut told = Told::of(2);
        let messages = [told.cast(0, Order::Fifo), told.cast(0, Order::Fifo)];
        told.deliver(1, messages[0]);
        told.push(0, What::Leaves);
        told.deliver(1, messages[1]);
        told.push(1, What::Departed(Rank(0)));
        assert_eq!(check(&told.0), None);
        told.deliver(1, messages[1]);
        assert!(check(&told.0).unwrap().contains("who is gone"));
    }

    #[test]
    fn one_that_comes_too_early_or_of_nobody_is_found() {
        let mut told = Told::of(2);
        told.cast(0, Order::Fifo);
        told.push(0, What::Leaves);
        told.push(1, What::Departed(Rank(0)));
        assert!(check(&told.0).unwrap().contains("before m0"));
        let mut told = Told::of(2);
        told.push(1, What::Departed(Rank(0)));
        assert!(check(&told.0).unwrap().contains("said no goodbye"));
    }
}
