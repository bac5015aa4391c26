//! NoDuplication, Fifo and ReliableFifo at passive readers: each stream in its own order, and without a gap but for those that
//! the reader was told of. Nothing is promised to them across streams.

use crate::sim::history::{Cast, History, Message, Process, What};

/// A message that comes to a reader after a later one of its sender, or once more.
pub(super) fn swaps(history: &History) -> Option<String> {
    first(history, |next, number, _| number < next, "after a later one, or twice")
}

/// A message that comes to a reader though an earlier one did not, and it was told of no gap.
pub(super) fn gaps(history: &History) -> Option<String> {
    first(history, |next, number, may_skip| number > next && !may_skip, "without an earlier one")
}

/// What a reader expects of one stream: the next number, and whether it may be a later one.
#[derive(Clone, Copy)]
struct Expects {
    number: u32,
    may_skip: bool,
}

fn first(history: &History, bad: impl Fn(u32, u32, bool) -> bool, how: &str) -> Option<String> {
    history.all().find_map(|process| {
        let message = first_at(history, process, &bad)?;
        Some(format!("{} read {} {how}", history.name(process), history.named(message)))
    })
}

fn first_at(history: &History, process: Process, bad: impl Fn(u32, u32, bool) -> bool) -> Option<Message> {
    let mut streams = vec![Expects { number: 0, may_skip: true }; history.processes.len()];
    history.of(process).find_map(|event| match event.what {
        What::Skips(rank) => {
            let of = history.all().filter(|by| history.who(*by).rank == rank);
            of.for_each(|by| streams[by.0 as usize].may_skip = true);
            None
        }
        What::Overhears(message) => {
            let Cast { by, number, .. } = history.cast_of(message);
            let Expects { number: next, may_skip } = streams[by.0 as usize];
            // Empty messages have no name by which a reader could tell them apart.
            let is_empty = |number: u32| {
                history.casts.iter().any(|cast| (cast.by, cast.number, cast.len) == (by, number, 0))
            };
            let next = if number > next && !may_skip {
                (next..number).find(|number| !is_empty(*number)).unwrap_or(number)
            } else {
                next
            };
            streams[by.0 as usize] = Expects { number: next.max(number + 1), may_skip: false };
            bad(next, number, may_skip).then_some(message)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::{Order, Rank};

    fn told() -> (Told, [Message; 4], u16) {
        let mut told = Told::of(1);
        let messages = [(); 4].map(|()| told.cast(0, Order::Fifo));
        let reader = told.0.start(9, Rank::READER, 0, true);
        (told, messages, reader.0)
    }

    #[test]
    fn a_stream_in_order_from_anywhere_with_gaps_that_were_told_is_good() {
        let (mut told, messages, reader) = told();
        told.push(reader, What::Overhears(messages[1]));
        told.push(reader, What::Skips(Rank(0)));
        told.push(reader, What::Overhears(messages[3]));
        assert_eq!((swaps(&told.0), gaps(&told.0)), (None, None));
    }

    #[test]
    fn gaps_swaps_and_doubles_are_found() {
        let (mut told, messages, reader) = told();
        told.push(reader, What::Overhears(messages[0]));
        told.push(reader, What::Overhears(messages[2]));
        assert_eq!((swaps(&told.0).is_some(), gaps(&told.0).is_some()), (false, true));
        for again in [1, 2] {
            let (mut told, messages, reader) = self::told();
            told.push(reader, What::Overhears(messages[2]));
            told.push(reader, What::Overhears(messages[again]));
            assert!(swaps(&told.0).is_some());
        }
    }
}
