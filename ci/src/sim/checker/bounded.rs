//! Bounded: nobody sends beyond a window, and in the end nobody keeps a receive buffer.

use crate::sim::history::{Ending, History};

pub(super) fn check(history: &History) -> Option<String> {
    history
        .endings
        .iter()
        .find_map(|ending| fault(ending).map(|fault| format!("{} {fault}", history.name(ending.process))))
}

fn fault(ending: &Ending) -> Option<String> {
    if ending.beyond > 0 {
        return Some(format!("got {} blocks from beyond a window", ending.beyond));
    }
    (!ending.is_idle).then(|| "still keeps receive buffers of what all have delivered".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::Process;
    use crate::sim::history::tests::Told;

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
}
