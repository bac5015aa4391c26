//! Bounded: nobody sends beyond a window, nobody keeps more than blocks that are not stable, and in the end nobody keeps any.

use crate::sim::history::{Ending, History, Sample};

pub(super) fn check(history: &History) -> Option<String> {
    history
        .endings
        .iter()
        .find_map(|ending| fault(ending).map(|fault| format!("{} {fault}", history.name(ending.process))))
}

/// At every instant that was looked at, each process keeps no more than there are blocks that are not stable for it.
pub(super) fn is_of_the_unstable(history: &History) -> Option<String> {
    let Sample { at_ns, process, unstable, kept } = history.samples.iter().find(|sample| exceeds(sample))?;
    let who = history.name(*process);
    Some(format!("at {at_ns} {who} keeps {kept:?}, while {unstable} blocks are not stable"))
}

fn exceeds(Sample { unstable, kept, .. }: &Sample) -> bool {
    kept.most() > FACTOR * unstable + SPARE
}

fn fault(ending: &Ending) -> Option<String> {
    if ending.beyond > 0 {
        return Some(format!("got {} blocks from beyond a window", ending.beyond));
    }
    (!ending.is_idle).then(|| "still keeps receive buffers of what all have delivered".to_owned())
}

/// What is kept for each block that is not stable, at most, and beside all of them.
const FACTOR: u64 = 1;
const SPARE: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;
    use crate::sim::history::{Kept, Process};

    #[test]
    fn what_is_kept_or_beyond_is_found() {
        let good = Ending { process: Process(0), is_settled: true, is_idle: true, beyond: 0 };
        for (ending, is_good) in
            [(good, true), (Ending { is_idle: false, ..good }, false), (Ending { beyond: 1, ..good }, false)]
        {
            let mut told = Told::of(1);
            told.0.endings.push(ending);
            assert_eq!(check(&told.0).is_none(), is_good);
        }
    }

    #[test]
    fn no_more_is_kept_than_is_unstable() {
        let most = FACTOR * 10 + SPARE;
        for (windows, is_good) in [(most, true), (most + 1, false)] {
            let mut told = Told::of(1);
            let kept = Kept { windows, ..Kept::default() };
            told.0.samples.push(Sample { at_ns: 1, process: Process(0), unstable: 10, kept });
            assert_eq!(is_of_the_unstable(&told.0).is_none(), is_good);
        }
    }
}
