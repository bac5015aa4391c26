//! A subscriber: takes what is delivered until the publisher has said goodbye, and checks that nothing is missing.

use std::process::ExitCode;

use super::Stop;
use super::api::{CaughtUp, Clock, Eviction, Happening, Instant, LagCounters, MonotonicClock, Rank};
use super::frame::{Ending, Frame};
use super::lag::{Contract, Taking};
use super::members::Role;
use super::options::Subscribe;
use super::seat::{Seat, WAIT};
use super::sink::Sink;
use super::summary::{Holds, Summary, Tallied};
use crate::digest::Digester;
use crate::refusal::Refusal;

/// Subscribes as the options say; the process's exit status.
pub(super) fn run(options: &Subscribe) -> Result<ExitCode, Refusal> {
    options.check()?;
    let role = if options.late { Role::Late } else { Role::Subscriber };
    let lag = options.lag.map(|contract| contract.for_format(options.format));
    let mut seat = Seat::open(options, role, &options.sources, (None, lag))?;
    seat.taking = options.take.map(Taking::new);
    let wanted = options.write || options.out.is_some();
    let sink = wanted.then(|| Sink::open(options.out.as_deref(), options.format)).transpose()?;
    seat.announce();
    let mut tally = Tally { contract: options.lag, ..Tally::new(role, sink) };
    let stop = subscribe(&mut seat, &mut tally).err();
    seat.say_goodbye();
    seat.bar.finish_and_clear();
    let flushed = tally.flush().map_err(Stop::Wrong).err();
    let stop = stop.or(flushed);
    let summary = Summary::new(&seat, &tally.tallied(), stop.as_ref());
    Ok(super::end(&summary, stop, options.json, options.write))
}

fn subscribe(seat: &mut Seat, tally: &mut Tally) -> Result<(), Stop> {
    match seat.role {
        Role::Late => seat.note("waiting for a message in the group"),
        _ => seat.await_view(|happening| tally.take(happening))?,
    }
    let mut show_at = Instant::default();
    while !tally.is_over() {
        let work = seat.cycle(WAIT, |happening| tally.take(happening))?;
        tally.notes.drain(..).for_each(|line| seat.note(line));
        if let Some(why) = tally.trouble.take() {
            return Err(Stop::Wrong(why));
        }
        if work == 0 {
            tally.flush().map_err(Stop::Wrong)?;
        }
        let now = seat.node.now();
        if now >= show_at {
            show_at = now.plus_ns(SHOW_EVERY_NS);
            seat.show(tally.next.unwrap_or(0));
            seat.watch_losses();
        }
    }
    let verdict = tally.verdict(seat.node.lag(&seat.group).map(|standing| standing.counters).as_ref());
    tally.notes.drain(..).for_each(|line| seat.note(line));
    verdict.map_or(Ok(()), |why| Err(Stop::Wrong(why)))
}

/// What was delivered.
struct Tally {
    role: Role,
    sink: Option<Sink>,
    digester: Digester,
    /// Numbers of the first message and of the next.
    from: Option<u64>,
    next: Option<u64>,
    lost_blocks: u64,
    lost_messages: u64,
    /// When the first and the last message came.
    times: Option<(Instant, Instant)>,
    end: Option<End>,
    /// The publisher has said goodbye.
    gone: bool,
    trouble: Option<String>,
    notes: Vec<String>,
    contract: Option<Contract>,
    /// Messages that did not come, as the contract allows.
    left_out: u64,
    eviction: Option<Eviction>,
    /// When it was last told that this process is behind, and whether it was told so the last time.
    lag_said: Option<Instant>,
    says_lag: bool,
}

/// What the publisher said at the end.
#[derive(Debug)]
struct End {
    ending: Ending,
    messages: u64,
    hash: String,
}

impl Tally {
    fn new(role: Role, sink: Option<Sink>) -> Self {
        let (from, next, lost_blocks, lost_messages, times) = Default::default();
        let (digester, end, gone, trouble, notes) = Default::default();
        let (contract, left_out, eviction, lag_said, says_lag) = Default::default();
        Self {
            role,
            sink,
            digester,
            from,
            next,
            lost_blocks,
            lost_messages,
            times,
            end,
            gone,
            trouble,
            notes,
            contract,
            left_out,
            eviction,
            lag_said,
            says_lag,
        }
    }

    fn take(&mut self, happening: Happening<'_>) {
        match happening {
            Happening::Deliver(Rank(0), bytes) => self.deliver(bytes),
            Happening::Deliver(rank, _) => self.wrong(format!("a message of {rank}, who publishes nothing")),
            Happening::Left(Rank(0)) => self.gone = true,
            Happening::Reading(Rank(0), block) => {
                self.notes.push(format!("came in at block {block} of the publisher's stream"));
            }
            Happening::Gap(Rank(0), blocks) => {
                self.lost_blocks += blocks;
                self.notes
                    .push(format!("{blocks} blocks are lost for good: going on at the next whole message"));
            }
            Happening::Lagging(behind) => {
                let now = MonotonicClock.now();
                self.says_lag = self.lag_said.is_none_or(|said| now.since_ns(said) >= SAY_LAG_EVERY_NS);
                if self.says_lag {
                    self.lag_said = Some(now);
                    self.notes.push(format!("behind: {behind}"));
                }
            }
            Happening::CaughtUp(CaughtUp { took, handed, conflated, lost }) if self.says_lag => {
                self.notes.push(format!(
                    "caught up after {:.3} s: {handed} messages came late, {conflated} were conflated, {lost} dropped",
                    took.as_secs_f64()
                ));
            }
            Happening::Evicted(eviction) => {
                self.eviction = Some(eviction);
                self.wrong(format!("{eviction} (--lag)"));
            }
            // Whoever else is in the group publishes nothing.
            _ => {}
        }
    }

    fn deliver(&mut self, bytes: &[u8]) {
        match Frame::read(bytes) {
            None => self.wrong("a message that no publisher of a feed wrote".to_owned()),
            Some(_) if self.end.is_some() => self.wrong("a message after the end of the stream".to_owned()),
            Some(Frame::End { ending, messages, hash }) => {
                self.end = Some(End { ending, messages, hash: hash.to_owned() });
            }
            Some(Frame::Data { number, message }) => self.add(number, message),
        }
    }

    fn add(&mut self, number: u64, message: &[u8]) {
        match self.next {
            Some(next) if number == next => {}
            None if self.role == Role::Late || number == 0 => self.start(number),
            Some(next) if self.role == Role::Late && number > next && self.lost_blocks > 0 => {
                self.lost_messages += number - next;
                self.notes.push(format!("messages {next} to {} are missing", number - 1));
            }
            Some(next) if self.contract.is_some() && number > next => self.left_out += number - next,
            next => {
                let next = next.unwrap_or(0);
                return self.wrong(format!("message {number} came in the place of message {next}"));
            }
        }
        self.next = Some(number + 1);
        self.digester.add(message);
        let now = MonotonicClock.now();
        self.times = Some((self.times.map_or(now, |(first, _)| first), now));
        if let Some(Err(why)) = self.sink.as_mut().map(|sink| sink.write(message)) {
            self.wrong(why);
        }
    }

    fn start(&mut self, number: u64) {
        self.from = Some(number);
        if self.role == Role::Late {
            self.notes.push(format!("starts at message {number} (the first is 0)"));
        }
    }

    /// Nothing more is to come. A publisher that broke off may be unable to say goodbye.
    fn is_over(&self) -> bool {
        self.gone || self.end.as_ref().is_some_and(|end| end.ending == Ending::BrokenOff)
    }

    /// The first reason is the one to tell.
    fn wrong(&mut self, why: String) {
        self.trouble.get_or_insert(why);
    }

    fn flush(&mut self) -> Result<(), String> {
        self.sink.as_mut().map_or(Ok(()), Sink::flush)
    }

    /// Why not everything was delivered although the publisher said goodbye.
    fn verdict(&mut self, lag: Option<&LagCounters>) -> Option<String> {
        let next = self.next.unwrap_or(0);
        if self.role == Role::Late && self.next.is_none() && self.end.is_none() && self.lost_blocks == 0 {
            self.notes.push("came in behind the last message".to_owned());
            return None;
        }
        let Some(End { ending, messages, hash }) = &self.end else {
            return Some(format!(
                "the publisher said goodbye after {next} messages, without the end of the stream"
            ));
        };
        let is_late_for_all = self.role == Role::Late && self.next.is_none();
        if *messages != next && !is_late_for_all {
            return Some(format!("the publisher has cast {messages} messages, {next} were delivered"));
        }
        if self.lost_messages > 0 || self.lost_blocks > 0 {
            return Some(format!("{} messages in the middle are missing", self.lost_messages));
        }
        if let Some(why) = lag.and_then(|lag| self.unaccounted(lag)) {
            return Some(why);
        }
        let own = self.digester.digest().hash;
        if self.from == Some(0) && self.left_out == 0 && *hash != own {
            return Some(format!("digest {own} is not the publisher's, {hash}"));
        }
        match ending {
            Ending::Complete => None,
            Ending::Interrupted => {
                self.notes.push(format!("the publisher was interrupted after {messages} messages"));
                None
            }
            Ending::BrokenOff => {
                Some(format!("the publisher broke off after {messages} messages: it says why where it runs"))
            }
        }
    }

    /// What did not come was conflated, all of it.
    fn unaccounted(&self, lag: &LagCounters) -> Option<String> {
        let LagCounters { conflated, lost, .. } = lag;
        if *lost > 0 {
            return Some(format!("{lost} messages were dropped: they were not taken in time (--lag)"));
        }
        let missing = self.left_out;
        (missing != *conflated)
            .then(|| format!("{missing} messages did not come, and {conflated} were conflated"))
    }

    fn tallied(&self) -> Tallied {
        Tallied {
            digest: self.digester.digest(),
            from_message: self.from,
            lost_blocks: self.lost_blocks,
            took: self.times.map(|(first, last)| last.since(first)).unwrap_or_default(),
            holds: Holds::default(),
            kept: self.contract.map(|contract| (contract, self.eviction)),
        }
    }
}

const SHOW_EVERY_NS: u64 = 100_000_000;
const SAY_LAG_EVERY_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(messages: &[&[u8]]) -> String {
        let mut digester = Digester::default();
        messages.iter().for_each(|message| digester.add(message));
        digester.digest().hash
    }

    /// The verdict of a subscriber to whom the messages of these numbers came, and then the end.
    fn verdict(role: Role, numbers: &[u64], ending: Ending, messages: u64, hash: &str) -> Option<String> {
        let mut tally = Tally::new(role, None);
        let mut buffer = Vec::new();
        for &number in numbers {
            Frame::Data { number, message: b"x" }.write(&mut buffer);
            tally.take(Happening::Deliver(Rank(0), &buffer));
        }
        Frame::End { ending, messages, hash }.write(&mut buffer);
        tally.take(Happening::Deliver(Rank(0), &buffer));
        tally.take(Happening::Left(Rank(0)));
        tally.trouble.take().or_else(|| tally.verdict(None))
    }

    #[test]
    fn all_messages_and_the_same_digest_are_enough() {
        let hash = &hash_of(&[b"x", b"x"]);
        assert_eq!(verdict(Role::Subscriber, &[0, 1], Ending::Complete, 2, hash), None);
        assert_eq!(verdict(Role::Subscriber, &[0, 1], Ending::Interrupted, 2, hash), None);
        assert_eq!(verdict(Role::Late, &[5, 6], Ending::Complete, 7, hash), None);
        assert_eq!(verdict(Role::Late, &[0, 1], Ending::Complete, 2, hash), None);
        assert_eq!(verdict(Role::Late, &[], Ending::Complete, 9, hash), None);
    }

    #[test]
    fn whatever_is_missing_is_found() {
        let hash = &hash_of(&[b"x", b"x"]);
        let why = |role, numbers: &[u64], ending, messages| {
            verdict(role, numbers, ending, messages, hash).expect("a reason")
        };
        assert!(why(Role::Subscriber, &[1], Ending::Complete, 2).contains("in the place of message 0"));
        assert!(why(Role::Subscriber, &[0, 2], Ending::Complete, 3).contains("in the place of message 1"));
        assert!(why(Role::Subscriber, &[0], Ending::Complete, 2).contains("2 messages, 1 were"));
        assert!(why(Role::Subscriber, &[0], Ending::Complete, 1).contains("is not the publisher's"));
        assert!(why(Role::Subscriber, &[0, 1], Ending::BrokenOff, 2).contains("broke off"));
        assert!(why(Role::Late, &[5, 7], Ending::Complete, 8).contains("in the place of message 6"));
        assert!(why(Role::Late, &[5], Ending::Complete, 8).contains("8 messages, 6 were"));
    }

    #[test]
    fn a_goodbye_without_an_end_and_a_gap_are_no_success() {
        let mut tally = Tally::new(Role::Subscriber, None);
        tally.take(Happening::Left(Rank(0)));
        assert!(tally.gone && tally.verdict(None).is_some_and(|why| why.contains("without the end")));
        let mut tally = Tally::new(Role::Late, None);
        tally.take(Happening::Left(Rank(0)));
        assert_eq!(tally.verdict(None), None);
        let mut tally = Tally::new(Role::Late, None);
        let mut buffer = Vec::new();
        for number in [3, 9] {
            Frame::Data { number, message: b"x" }.write(&mut buffer);
            tally.take(Happening::Deliver(Rank(0), &buffer));
            tally.take(Happening::Gap(Rank(0), 4));
        }
        Frame::End { ending: Ending::Complete, messages: 10, hash: &hash_of(&[]) }.write(&mut buffer);
        tally.take(Happening::Deliver(Rank(0), &buffer));
        assert_eq!(tally.verdict(None).as_deref(), Some("5 messages in the middle are missing"));
    }
}
